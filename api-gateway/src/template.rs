//! Path templates of `google.api.http` (`/v1/orders/{order_id}:cancel`, `/v1/{name=shops/*}`): parsing, and a
//! tree that finds the route of a request path. It knows nothing of messages: a variable is a name and the
//! piece of the path that it stands for. axum's own router is not used for these routes, because the matcher
//! below it has no suffix after a variable, which every custom verb needs.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;

/// A request path of more segments than this matches no route.
pub const MAX_PATH_SEGMENTS: usize = 32;

/// One piece of a path between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    /// `*`: exactly one segment, not empty.
    One,
    /// `**`: all that follow, at least one. Only at the end.
    Rest,
}

/// A variable and the segments of the path that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The field path as written, such as `order.id`.
    pub field: String,
    /// Index of its first segment.
    pub start: usize,
    /// Index after its last segment; `None` when it ends in `**`.
    pub end: Option<usize>,
}

/// A parsed path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub segments: Vec<Segment>,
    pub variables: Vec<Variable>,
    /// What follows the last colon, as in `:cancel`.
    pub verb: Option<String>,
}

/// Why a template or a captured value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a path starts with a slash")]
    NoSlash,
    #[error("a segment is empty")]
    EmptySegment,
    #[error("a brace is not closed or not opened")]
    Brace,
    #[error("`**` may only stand at the end")]
    RestNotLast,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When it is not well formed.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        let last = rest.rfind(['/', '}']).map_or(0, |at| at + 1);
        let (path, verb) = match rest[last..].rfind(':') {
            Some(colon) => (&rest[..last + colon], Some(rest[last + colon + 1..].to_owned())),
            None => (rest, None),
        };
        if verb.as_deref() == Some("") {
            return Err(TemplateError::EmptySegment);
        }
        let mut template = Template { segments: Vec::new(), variables: Vec::new(), verb };
        for piece in split_outside_braces(path)? {
            match piece.strip_prefix('{') {
                Some(inner) => template.variable(inner.strip_suffix('}').ok_or(TemplateError::Brace)?)?,
                None => template.segments.push(segment(piece)?),
            }
        }
        let rest_at = template.segments.iter().position(|part| *part == Segment::Rest);
        if rest_at.is_some_and(|at| at + 1 != template.segments.len()) {
            return Err(TemplateError::RestNotLast);
        }
        Ok(template)
    }

    fn variable(&mut self, inner: &str) -> Result<(), TemplateError> {
        let (field, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
        if field.is_empty() {
            return Err(TemplateError::EmptySegment);
        }
        let start = self.segments.len();
        for piece in pattern.split('/') {
            self.segments.push(segment(piece)?);
        }
        let end = (self.segments.last() != Some(&Segment::Rest)).then_some(self.segments.len());
        self.variables.push(Variable { field: field.to_owned(), start, end });
        Ok(())
    }

    /// What the variables stand for in a path that matched. The values are percent-decoded.
    ///
    /// # Errors
    /// The variable's field path, when its value is not UTF-8 or hides a slash inside several segments.
    pub fn capture<'a>(&'a self, path: &str) -> Result<Vec<(&'a Variable, String)>, &'a Variable> {
        let path = without_verb(path, self.verb.as_deref());
        let pieces: Vec<&str> = path.split('/').skip(1).collect();
        let mut captures = Vec::with_capacity(self.variables.len());
        for variable in &self.variables {
            let covered = &pieces[variable.start..variable.end.unwrap_or(pieces.len())];
            let mut value = String::new();
            for (index, piece) in covered.iter().enumerate() {
                let piece = percent_decode_str(piece).decode_utf8().map_err(|_| variable)?;
                // Decoded, it could not be told from a slash that separates segments.
                if covered.len() > 1 && piece.contains('/') {
                    return Err(variable);
                }
                if index > 0 {
                    value.push('/');
                }
                value.push_str(&piece);
            }
            captures.push((variable, value));
        }
        Ok(captures)
    }
}

fn segment(text: &str) -> Result<Segment, TemplateError> {
    match text {
        "" => Err(TemplateError::EmptySegment),
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Rest),
        _ if text.contains(['{', '}', '=']) => Err(TemplateError::Brace),
        _ => Ok(Segment::Literal(text.to_owned())),
    }
}

fn split_outside_braces(path: &str) -> Result<Vec<&str>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut start, mut open) = (0, false);
    for (at, character) in path.char_indices() {
        match character {
            '{' if !open => open = true,
            '}' if open => open = false,
            '{' | '}' => return Err(TemplateError::Brace),
            '/' if !open => {
                pieces.push(&path[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(TemplateError::Brace);
    }
    pieces.push(&path[start..]);
    Ok(pieces)
}

fn without_verb<'a>(path: &'a str, verb: Option<&str>) -> &'a str {
    verb.and_then(|verb| path.strip_suffix(verb)?.strip_suffix(':')).unwrap_or(path)
}

/// What a request's method and path lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, T> {
    Route(&'a T),
    /// The path exists; these are its methods, sorted.
    WrongMethod(Vec<&'a Method>),
    Nothing,
}

/// Finds routes by method and path: a literal segment wins over `*`, and `*` over `**`; a path that ends in
/// the verb of some route is never taken for a longer value of a variable.
#[derive(Debug)]
pub struct RouteTree<T> {
    verbs: BTreeMap<Option<String>, Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: BTreeMap<String, Node<T>>,
    one: Option<Box<Node<T>>>,
    rest: Option<Box<Node<T>>>,
    routes: Vec<(Method, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: BTreeMap::new(), one: None, rest: None, routes: Vec::new() }
    }
}

impl<T> Default for RouteTree<T> {
    fn default() -> Self {
        Self { verbs: BTreeMap::new() }
    }
}

impl<T> RouteTree<T> {
    /// Adds a route.
    ///
    /// # Errors
    /// The route already there, when every path of the one is a path of the other with the same method.
    pub fn insert(&mut self, method: Method, template: &Template, route: T) -> Result<(), &T> {
        let mut node = self.verbs.entry(template.verb.clone()).or_default();
        for segment in &template.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::One => node.one.get_or_insert_default(),
                Segment::Rest => node.rest.get_or_insert_default(),
            };
        }
        if let Some(at) = node.routes.iter().position(|(taken, _)| *taken == method) {
            return Err(&node.routes[at].1);
        }
        node.routes.push((method, route));
        Ok(())
    }

    /// Finds the route of a raw (not yet decoded) request path.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Found<'_, T> {
        if path.split('/').count() > MAX_PATH_SEGMENTS + 1 {
            return Found::Nothing;
        }
        let colon = path.rfind(':').filter(|at| !path[*at..].contains('/'));
        let with_verb = colon.and_then(|at| self.lookup(Some(&path[at + 1..]), &path[..at]));
        let Some(node) = with_verb.or_else(|| self.lookup(None, path)) else { return Found::Nothing };
        match node.routes.iter().find(|(candidate, _)| candidate == method) {
            Some((_, route)) => Found::Route(route),
            None => {
                let mut methods: Vec<&Method> = node.routes.iter().map(|(method, _)| method).collect();
                methods.sort_by_key(|method| method.as_str());
                Found::WrongMethod(methods)
            }
        }
    }

    fn lookup(&self, verb: Option<&str>, path: &str) -> Option<&Node<T>> {
        let (_, root) = self.verbs.iter().find(|(candidate, _)| candidate.as_deref() == verb)?;
        let pieces: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        root.lookup(&pieces)
    }
}

impl<T> Node<T> {
    fn lookup(&self, pieces: &[&str]) -> Option<&Self> {
        let Some((first, others)) = pieces.split_first() else {
            return (!self.routes.is_empty()).then_some(self);
        };
        if first.is_empty() {
            return None;
        }
        self.literals
            .get(*first)
            .and_then(|node| node.lookup(others))
            .or_else(|| self.one.as_ref().and_then(|node| node.lookup(others)))
            .or_else(|| self.rest.as_deref().filter(|_| pieces.iter().all(|piece| !piece.is_empty())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(routes: &[(&Method, &str)]) -> RouteTree<String> {
        let mut tree = RouteTree::default();
        for (method, text) in routes {
            let template = Template::parse(text).unwrap();
            tree.insert((*method).clone(), &template, (*text).to_owned()).unwrap();
        }
        tree
    }

    fn captured(template: &str, path: &str) -> Vec<String> {
        let template = Template::parse(template).unwrap();
        template.capture(path).unwrap().into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn a_verb_is_told_from_a_value_that_has_a_colon() {
        let tree = tree(&[(&Method::GET, "/v1/orders/{id}"), (&Method::POST, "/v1/orders/{id}:cancel")]);
        let route = |method, path| tree.find(method, path);
        assert_eq!(
            route(&Method::POST, "/v1/orders/7:cancel"),
            Found::Route(&"/v1/orders/{id}:cancel".into())
        );
        assert_eq!(route(&Method::GET, "/v1/orders/a:b"), Found::Route(&"/v1/orders/{id}".into()));
        assert_eq!(route(&Method::GET, "/v1/orders/7:cancel"), Found::WrongMethod(vec![&Method::POST]));
        assert_eq!(captured("/v1/orders/{id}:cancel", "/v1/orders/a:b:cancel"), ["a:b"]);
    }

    #[test]
    fn a_literal_wins_over_a_variable_and_a_variable_over_the_rest() {
        let get = &Method::GET;
        let tree = tree(&[(get, "/v1/{name=**}"), (get, "/v1/a/{id}"), (get, "/v1/a/b"), (get, "/v1/{x}/c")]);
        for (path, expected) in [
            ("/v1/a/b", "/v1/a/b"),
            ("/v1/a/z", "/v1/a/{id}"),
            ("/v1/a/c", "/v1/a/{id}"),
            ("/v1/q/c", "/v1/{x}/c"),
            ("/v1/q/c/d", "/v1/{name=**}"),
        ] {
            assert_eq!(tree.find(get, path), Found::Route(&expected.to_owned()), "{path}");
        }
        assert_eq!(tree.find(get, "/v1/"), Found::Nothing);
        assert_eq!(tree.find(get, "/v1/q//c"), Found::Nothing);
        assert_eq!(tree.find(get, "/v1/a/b/"), Found::Nothing);
    }

    #[test]
    fn two_templates_for_the_same_paths_collide() {
        let mut tree = tree(&[(&Method::GET, "/v1/orders/{id}")]);
        let same = Template::parse("/v1/orders/{order_id}").unwrap();
        assert!(tree.insert(Method::GET, &same, "other".to_owned()).is_err());
        assert!(tree.insert(Method::DELETE, &same, "other".to_owned()).is_ok());
    }

    #[test]
    fn variables_cover_the_segments_of_their_pattern() {
        assert_eq!(captured("/v1/{name=shops/*}/stock/{sku}", "/v1/shops/7/stock/a%2Fb"), ["shops/7", "a/b"]);
        assert_eq!(captured("/v1/{name=files/**}", "/v1/files/a/b%20c"), ["files/a/b c"]);
    }

    #[test]
    fn a_value_that_is_not_utf_8_or_hides_a_slash_is_refused() {
        assert!(Template::parse("/v1/{a}").unwrap().capture("/v1/%ff").is_err());
        assert!(Template::parse("/v1/{name=shops/*}").unwrap().capture("/v1/shops/a%2Fb").is_err());
    }

    #[test]
    fn malformed_templates_are_refused() {
        for text in ["v1/x", "/v1//x", "/v1/{x", "/v1/x}", "/v1/{**}/y/{=*}", "/v1/{a=**}/b", "/v1/x:", "/"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
