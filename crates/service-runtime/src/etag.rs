//! Entity tags made from stream versions: `"v12"`, a strong tag as RFC 9110 writes it, quotes included, so that
//! it goes unchanged into an HTTP header. Clients treat it as opaque.

use tonic::Status;

use crate::status::invalid_field;

/// The tag of a resource whose stream has this version.
pub fn of(version: u64) -> String {
    format!("\"v{version}\"")
}

/// The stream version behind a tag that a client sends back in `field`; `None` when it sent none.
///
/// # Errors
/// INVALID_ARGUMENT when the text is not a tag that [`of`] makes; weak tags are not, since they do not compare
/// exactly. Quotes may be missing: people who type them into a shell lose them.
pub fn parse(field: &str, tag: &str) -> Result<Option<u64>, Status> {
    if tag.is_empty() {
        return Ok(None);
    }
    let bare = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    let digits = bare.strip_prefix('v').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(version) => Ok(Some(version)),
        None => Err(invalid_field(field, "must be an etag as it was returned")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_way_to_the_client_and_back() {
        assert_eq!(parse("etag", &of(12)).unwrap(), Some(12));
        assert_eq!(parse("etag", "v12").unwrap(), Some(12));
        assert_eq!(parse("etag", "").unwrap(), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["12", "v", "\"v12", "W/\"v12\"", "v-1", "v+1", "*", "v99999999999999999999"] {
            assert_eq!(parse("etag", wrong).unwrap_err().code(), tonic::Code::InvalidArgument, "{wrong}");
        }
    }
}
