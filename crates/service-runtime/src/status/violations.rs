//! Collects what is wrong with a request, field by field, so that a caller learns everything at once. Fields
//! are named by their path in the proto message; values are never repeated, since they may be personal.

use tonic::Status;
use tonic_types::FieldViolation;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

/// Most violations in one answer. Error details travel in a header, whose size clients limit.
const MAX_VIOLATIONS: usize = 32;
/// Longest field path or description, in characters.
const MAX_TEXT_CHARS: usize = 120;

/// Violations found so far.
///
/// ```
/// use service_runtime::status::Violations;
///
/// let mut violations = Violations::new();
/// violations.check(false, "lines[2].quantity", "must be at least 1");
/// assert!(violations.into_result().is_err());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Violations(Vec<(String, String)>);

impl Violations {
    pub fn new() -> Self {
        Self::default()
    }

    /// `description` completes a sentence that begins with the field: "must not be empty".
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) -> &mut Self {
        self.0.push((field.into(), description.into()));
        self
    }

    /// Adds the violation unless `holds`.
    pub fn check(
        &mut self,
        holds: bool,
        field: impl Into<String>,
        description: impl Into<String>,
    ) -> &mut Self {
        if holds { self } else { self.add(field, description) }
    }

    /// Adds what `validator` finds in `value`, which stands at `path` in the request (empty: the request
    /// itself).
    pub fn validate(&mut self, path: &str, value: &impl Validate) -> &mut Self {
        if let Err(errors) = value.validate() {
            self.add_errors(path, &errors);
        }
        self
    }

    /// Adds errors that `validator` found, of a value that stands at `path` in the request.
    pub fn add_errors(&mut self, path: &str, errors: &ValidationErrors) -> &mut Self {
        let mut fields: Vec<_> = errors.errors().iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        for (name, kind) in fields {
            let at = join(path, name);
            match kind {
                ValidationErrorsKind::Field(errors) => {
                    for error in errors {
                        self.add(at.clone(), describe(error));
                    }
                }
                ValidationErrorsKind::Struct(errors) => {
                    self.add_errors(&at, errors);
                }
                ValidationErrorsKind::List(entries) => {
                    for (index, errors) in entries {
                        self.add_errors(&format!("{at}[{index}]"), errors);
                    }
                }
            }
        }
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// INVALID_ARGUMENT with every violation, when there is one.
    pub fn into_result(self) -> Result<(), Status> {
        if self.is_empty() { Ok(()) } else { Err(super::invalid_argument(&self)) }
    }

    /// As error details: the first ones, shortened.
    pub(super) fn fields(&self) -> Vec<FieldViolation> {
        let first = self.0.iter().take(MAX_VIOLATIONS);
        first.map(|(field, description)| FieldViolation::new(shorten(field), shorten(description))).collect()
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let Some((field, description)) = self.0.first() else { return "malformed request".to_owned() };
        let first = format!("{} {}", shorten(field), shorten(description));
        match self.0.len() - 1 {
            0 => first,
            more => format!("{first} (and {more} more)"),
        }
    }
}

impl From<&ValidationErrors> for Violations {
    fn from(errors: &ValidationErrors) -> Self {
        let mut violations = Self::new();
        violations.add_errors("", errors);
        violations
    }
}

impl From<ValidationErrors> for Violations {
    fn from(errors: ValidationErrors) -> Self {
        Self::from(&errors)
    }
}

/// `__all__` is validator's name for rules about a whole struct.
fn join(path: &str, name: &str) -> String {
    match (path, name) {
        (path, "__all__") => path.to_owned(),
        ("", name) => name.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// The author's message or one made of the rule's parameters, never of the value.
fn describe(error: &ValidationError) -> String {
    if let Some(message) = &error.message {
        return message.clone().into_owned();
    }
    let subject = if error.code == "length" { "length must be" } else { "must be" };
    let bound = |name: &str| error.params.get(name);
    match (error.code.as_ref(), bound("min"), bound("max"), bound("equal")) {
        (_, _, _, Some(equal)) => format!("{subject} exactly {equal}"),
        (_, Some(min), Some(max), _) => format!("{subject} from {min} to {max}"),
        (_, Some(min), None, _) => format!("{subject} at least {min}"),
        (_, None, Some(max), _) => format!("{subject} at most {max}"),
        ("required", ..) => "must be set".to_owned(),
        (code, ..) => format!("is not valid ({code})"),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[derive(Validate)]
    struct Line {
        #[validate(range(min = 1, max = 999))]
        quantity: i64,
    }

    #[derive(Validate)]
    struct Address {
        #[validate(length(min = 1, max = 9), custom(function = "no_card_number"))]
        city: String,
    }

    #[derive(Validate)]
    struct Request {
        #[validate(nested)]
        lines: Vec<Line>,
        #[validate(nested)]
        address: Address,
    }

    fn no_card_number(text: &str) -> Result<(), ValidationError> {
        let message = ValidationError::new("card").with_message("must not hold a card number".into());
        if text.contains("4242") { Err(message) } else { Ok(()) }
    }

    #[test]
    fn violations_name_proto_paths_through_messages_and_lists() {
        let request = Request {
            lines: vec![Line { quantity: 1 }, Line { quantity: 0 }, Line { quantity: 1000 }],
            address: Address { city: "4242 4242 4242".into() },
        };
        let mut violations = Violations::new();
        violations.validate("order", &request);
        let status = violations.into_result().unwrap_err();
        let fields = status.get_details_bad_request().unwrap().field_violations;
        let found: Vec<_> = fields.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(
            found,
            [
                ("order.address.city", "length must be from 1 to 9"),
                ("order.address.city", "must not hold a card number"),
                ("order.lines[1].quantity", "must be from 1 to 999"),
                ("order.lines[2].quantity", "must be from 1 to 999"),
            ]
        );
        assert!(!format!("{status:?}").contains("4242"), "values are not repeated");
    }

    #[test]
    fn an_answer_stays_small_whatever_the_request() {
        let mut violations = Violations::new();
        for index in 0..10_000 {
            violations.add(format!("lines[{index}].{}", "x".repeat(10_000)), "y".repeat(10_000));
        }
        let status = violations.into_result().unwrap_err();
        assert!(status.details().len() < 10_000, "{}", status.details().len());
        assert!(status.message().ends_with("(and 9999 more)"));
    }

    #[test]
    fn a_request_without_violations_passes() {
        let request = Request { lines: vec![Line { quantity: 1 }], address: Address { city: "Riga".into() } };
        let mut violations = Violations::new();
        violations.validate("", &request);
        violations.check(true, "lines", "must not be empty");
        violations.into_result().unwrap();
    }
}
