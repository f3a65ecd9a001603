//! Who may call what: the role that every RPC names in its proto, the tokens of operators and services, and
//! access tokens for single things. It knows roles and credentials; whether an access token fits the thing
//! asked about is for the handler to decide.

mod access;
mod roles;

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::{Choice, ConstantTimeEq};
use tonic::Status;

pub use access::{AccessTokens, MAX_ACCESS_TOKEN_CHARS, NoKeys};
pub use roles::{MethodRole, MissingRole, Role, RoleTable};

use crate::config::ConfigReader;
use crate::secret::{Secret, hex};
use crate::status::{self, reason};

/// Tokens of one kind that are valid at a time: the current one and, while it is rotated, another.
pub const MAX_TOKENS: usize = 2;
/// Shortest operator or service token. 32 hexadecimal digits are 128 bits.
pub const MIN_TOKEN_CHARS: usize = 32;
/// Longest credential that is looked at.
const MAX_CREDENTIAL_CHARS: usize = 4096;

/// Who calls, as far as this layer can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Without a credential.
    #[default]
    Anonymous,
    /// With an operator token.
    Operator,
    /// With the service token.
    Service,
    /// With a credential that is neither; the handler decides what it is good for.
    Bearer(Secret),
}

impl Caller {
    /// A name for events and logs: a role or a pseudonym.
    pub fn actor(&self) -> String {
        match self {
            Self::Bearer(credential) => format!("shopper:{}", hex(&credential.digest()[..4])),
            known => known.role_name().to_owned(),
        }
    }

    /// Part of the scope of request ids: equal only for the same caller. A role has one scope, so that a
    /// request can be repeated after its token was rotated.
    pub fn scope(&self) -> String {
        match self {
            Self::Bearer(credential) => format!("bearer:{}", hex(&credential.digest())),
            known => known.role_name().to_owned(),
        }
    }

    /// The credential that is left for the handler to judge.
    pub fn credential(&self) -> Option<&Secret> {
        match self {
            Self::Bearer(credential) => Some(credential),
            _ => None,
        }
    }

    pub fn is_operator(&self) -> bool {
        *self == Self::Operator
    }

    fn role_name(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::Bearer(_) => "bearer",
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.actor())
    }
}

/// The tokens of operators and services, as hashes.
#[derive(Clone, Default)]
pub struct Tokens {
    operator: Vec<[u8; 32]>,
    service: Vec<[u8; 32]>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} operator, {} service)", self.operator.len(), self.service.len())
    }
}

/// Why tokens were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakTokens {
    #[error("at most {MAX_TOKENS} tokens of one kind are valid at a time")]
    TooMany,
    #[error("a token has at least {MIN_TOKEN_CHARS} characters, none of which is a blank")]
    TooWeak,
    #[error("the operator token and the service token must differ")]
    Shared,
}

impl Tokens {
    /// Up to [`MAX_TOKENS`] of each kind; none of a kind means that nobody has that role.
    pub fn new(operator: &[Secret], service: &[Secret]) -> Result<Self, WeakTokens> {
        if operator.len() > MAX_TOKENS || service.len() > MAX_TOKENS {
            return Err(WeakTokens::TooMany);
        }
        let strong = |token: &Secret| {
            token.expose().len() >= MIN_TOKEN_CHARS && token.expose().bytes().all(|b| b.is_ascii_graphic())
        };
        if !operator.iter().chain(service).all(strong) {
            return Err(WeakTokens::TooWeak);
        }
        if operator.iter().any(|token| service.contains(token)) {
            return Err(WeakTokens::Shared);
        }
        let digests = |tokens: &[Secret]| tokens.iter().map(Secret::digest).collect();
        Ok(Self { operator: digests(operator), service: digests(service) })
    }

    /// Reads `STORELINE_OPERATOR_TOKENS` and `STORELINE_SERVICE_TOKENS`, each the current token and, while it is rotated, the
    /// other one, with a comma in between.
    pub fn read(reader: &mut ConfigReader) -> Self {
        let operator: Vec<Secret> = reader.var("STORELINE_OPERATOR_TOKENS", "who runs the shop").required();
        let service: Vec<Secret> =
            reader.var("STORELINE_SERVICE_TOKENS", "how services know each other").required();
        Self::new(&operator, &service).unwrap_or_else(|error| {
            reader.problem("STORELINE_OPERATOR_TOKENS, STORELINE_SERVICE_TOKENS", error.to_string());
            Self::default()
        })
    }

    /// Whose credential it is. The time it takes does not depend on how much of a token was guessed.
    pub fn identify(&self, credential: Secret) -> Caller {
        let digest = credential.digest();
        let any = |known: &[[u8; 32]]| {
            known.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(&digest)).into()
        };
        let (operator, service): (bool, bool) = (any(&self.operator), any(&self.service));
        match (operator, service) {
            (true, _) => Caller::Operator,
            (_, true) => Caller::Service,
            _ => Caller::Bearer(credential),
        }
    }

    /// Lets a caller with these headers pass to an RPC of this role, or not.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a credential, or with one that is nobody's; PERMISSION_DENIED when the caller
    /// is known and the role is another's.
    pub fn authorize(&self, role: Role, headers: &HeaderMap) -> Result<Caller, Status> {
        let Some(credential) = bearer(headers) else {
            return match role {
                Role::Public => Ok(Caller::Anonymous),
                _ => Err(status::unauthenticated(
                    reason::CREDENTIAL_REQUIRED,
                    "this call needs the header authorization: Bearer and a token",
                )),
            };
        };
        let caller = self.identify(credential);
        match (role, &caller) {
            (_, Caller::Operator)
            | (Role::Public, _)
            | (Role::Shopper, Caller::Bearer(_))
            | (Role::Service, Caller::Service) => Ok(caller),
            (_, Caller::Bearer(_) | Caller::Anonymous) => Err(status::unauthenticated(
                reason::CREDENTIAL_INVALID,
                "the token is not valid for this call",
            )),
            (_, Caller::Service) => Err(status::permission_denied(
                reason::ROLE_REQUIRED,
                format!("the caller's role is service, this call is for role {role}"),
            )),
        }
    }
}

/// The credential of `authorization: Bearer ...`; whatever else stands there counts as none.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim();
    let usable = scheme.eq_ignore_ascii_case("bearer")
        && (1..=MAX_CREDENTIAL_CHARS).contains(&credential.len())
        && credential.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| Secret::new(credential))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const OPERATOR: &str = "operator-0123456789abcdef0123456789";
    const NEXT_OPERATOR: &str = "operator-next-0123456789abcdef01234";
    const SERVICE: &str = "service-0123456789abcdef0123456789";

    fn tokens() -> Tokens {
        let operator = [Secret::new(OPERATOR), Secret::new(NEXT_OPERATOR)];
        Tokens::new(&operator, &[Secret::new(SERVICE)]).unwrap()
    }

    fn call(role: Role, authorization: Option<&str>) -> Result<Caller, Code> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        tokens().authorize(role, &headers).map_err(|status| status.code())
    }

    fn with(role: Role, token: &str) -> Result<Caller, Code> {
        call(role, Some(&format!("Bearer {token}")))
    }

    #[test]
    fn each_role_admits_its_callers_and_nobody_else() {
        use Code::{PermissionDenied, Unauthenticated};
        let shopper = Caller::Bearer(Secret::new("some-access-token"));
        for (role, nobody, holder, service) in [
            (Role::Public, Ok(Caller::Anonymous), Ok(shopper.clone()), Ok(Caller::Service)),
            (Role::Shopper, Err(Unauthenticated), Ok(shopper), Err(PermissionDenied)),
            (Role::Operator, Err(Unauthenticated), Err(Unauthenticated), Err(PermissionDenied)),
            (Role::Service, Err(Unauthenticated), Err(Unauthenticated), Ok(Caller::Service)),
        ] {
            assert_eq!(call(role, None), nobody, "{role} without a credential");
            assert_eq!(with(role, "some-access-token"), holder, "{role} with an access token");
            assert_eq!(with(role, SERVICE), service, "{role} with the service token");
            assert_eq!(with(role, OPERATOR), Ok(Caller::Operator), "{role} with the operator token");
        }
    }

    #[test]
    fn two_tokens_are_valid_while_one_is_rotated() {
        assert_eq!(with(Role::Operator, NEXT_OPERATOR), Ok(Caller::Operator));
        let three = vec![Secret::new(OPERATOR); 3];
        assert_eq!(Tokens::new(&three, &[]).unwrap_err(), WeakTokens::TooMany);
    }

    #[test]
    fn weak_or_shared_tokens_are_refused() {
        for weak in ["", "short", "0123456789abcdef 0123456789abcdef"] {
            assert_eq!(Tokens::new(&[Secret::new(weak)], &[]).unwrap_err(), WeakTokens::TooWeak);
        }
        let same = [Secret::new(OPERATOR)];
        assert_eq!(Tokens::new(&same, &same).unwrap_err(), WeakTokens::Shared);
    }

    #[test]
    fn a_malformed_authorization_counts_as_none() {
        for wrong in ["", "Bearer", "Bearer ", "Basic dXNlcjpwdw==", "Bearer two tokens", &"x".repeat(9000)] {
            assert_eq!(call(Role::Operator, Some(wrong)), Err(Code::Unauthenticated), "{wrong}");
            assert_eq!(call(Role::Public, Some(wrong)), Ok(Caller::Anonymous), "{wrong}");
        }
        assert_eq!(call(Role::Operator, Some(&format!("bearer  {OPERATOR}"))), Ok(Caller::Operator));
    }

    #[test]
    fn an_actor_is_a_role_or_a_pseudonym_and_never_the_credential() {
        let caller = Caller::Bearer(Secret::new("some-access-token"));
        assert!(caller.actor().starts_with("shopper:") && caller.actor().len() == "shopper:".len() + 8);
        assert!(!format!("{caller} {caller:?} {} {:?}", caller.scope(), tokens()).contains("access-token"));
        assert_ne!(caller.scope(), Caller::Bearer(Secret::new("another-access-token")).scope());
        assert_eq!(Caller::Operator.actor(), "operator");
    }
}
