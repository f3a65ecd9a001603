//! Configuration from environment variables: typed, described where it is read, and checked as a whole, so
//! that a wrong start names everything that is wrong at once. There are no configuration files and no
//! reloading: a changed variable takes effect with the next start.

mod value;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

pub use value::{ByteSize, ConfigValue};

/// Longest part of a wrong value that an error shows, in characters.
const MAX_SHOWN_CHARS: usize = 80;

/// Reads variables and remembers every problem until [`finish`](ConfigReader::finish).
///
/// A variable that is set to nothing but blanks counts as unset. A secret `NAME` may also be given as
/// `NAME_FILE`, the path of a file that holds it.
///
/// ```
/// use std::time::Duration;
/// use service_runtime::config::ConfigReader;
///
/// #[derive(Debug)]
/// struct Config { cache_entries: u64, poll: Duration }
///
/// fn read(reader: &mut ConfigReader) -> Config {
///     Config {
///         cache_entries: reader.var("CACHE_ENTRIES", "entries kept in memory").range(1..=1_000_000).default(10_000),
///         poll: reader.var("POLL_INTERVAL", "pause between two looks at the log").default(Duration::from_millis(50)),
///     }
/// }
///
/// let mut reader = ConfigReader::from_map([("POLL_INTERVAL", "2s")]);
/// let config = read(&mut reader);
/// let config = reader.finish(config)?;
/// assert_eq!(config.poll, Duration::from_secs(2));
///
/// let mut reader = ConfigReader::from_map([("POLL_INTERVAL", "fast"), ("CACHE_ENTRIES", "0")]);
/// let config = read(&mut reader);
/// assert_eq!(reader.finish(config).unwrap_err().problems().len(), 2);
/// # Ok::<(), service_runtime::config::ConfigErrors>(())
/// ```
#[derive(Default)]
pub struct ConfigReader {
    values: HashMap<String, OsString>,
    problems: Vec<Problem>,
    described: Vec<Description>,
}

impl ConfigReader {
    /// Reads the environment of this process.
    pub fn from_env() -> Self {
        let values = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self { values: values.collect(), ..Self::default() }
    }

    /// Reads given values instead of the environment.
    pub fn from_map<K: Into<String>, V: Into<OsString>>(values: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { values: values.collect(), ..Self::default() }
    }

    /// Starts to read one variable; see [`Var`] for how it ends.
    ///
    /// `help` says what the value means, in a few words, without a full stop.
    pub fn var<T: ConfigValue>(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        help: &'static str,
    ) -> Var<'_, T> {
        Var {
            reader: self,
            name: name.into(),
            help,
            rule: T::RULE.to_owned(),
            checks: Vec::new(),
            of: PhantomData,
        }
    }

    /// Reports a rule that spans several variables; `name` is the one to change.
    pub fn problem(&mut self, name: impl Into<Cow<'static, str>>, rule: impl Into<String>) {
        self.problems.push(Problem { name: name.into(), found: None, rule: rule.into() });
    }

    /// The configuration, if all of it is right.
    ///
    /// # Errors
    /// Every problem that was found. `config` may then hold stand-ins for what could not be read, which is
    /// why it passes through here.
    pub fn finish<T>(&self, config: T) -> Result<T, ConfigErrors> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(self.problems.clone())) }
    }

    /// All variables read so far, in the order of reading.
    pub fn describe(&self) -> &[Description] {
        &self.described
    }

    fn raw(&self, name: &str) -> Result<Option<String>, &'static str> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let text = value.to_str().ok_or("must be valid UTF-8")?.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// The raw value of a secret, which may stand in a file.
    fn raw_secret(&self, name: &str) -> Result<Option<String>, &'static str> {
        let direct = self.raw(name)?;
        let Some(path) = self.raw(&format!("{name}_FILE"))? else { return Ok(direct) };
        if direct.is_some() {
            return Err("must be given either directly or as a file, not both");
        }
        let text = std::fs::read_to_string(path).map_err(|_| "names a file that cannot be read")?;
        let text = text.trim();
        if text.is_empty() { Err("names an empty file") } else { Ok(Some(text.to_owned())) }
    }
}

/// Without the values, some of which are secret.
impl fmt::Debug for ConfigReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigReader").field("problems", &self.problems).finish_non_exhaustive()
    }
}

type Check<'r, T> = Box<dyn Fn(&T) -> bool + 'r>;

/// One variable while it is being read. It ends with [`required`](Var::required),
/// [`default`](Var::default) or [`optional`](Var::optional).
#[must_use = "a variable is read when its default is told"]
pub struct Var<'r, T> {
    reader: &'r mut ConfigReader,
    name: Cow<'static, str>,
    help: &'static str,
    rule: String,
    checks: Vec<Check<'r, T>>,
    of: PhantomData<T>,
}

impl<'r, T: ConfigValue> Var<'r, T> {
    /// Accepts only values of this range.
    pub fn range(self, range: RangeInclusive<T>) -> Self
    where
        T: PartialOrd + 'r,
    {
        let rule = format!("from {} to {}", range.start().show(), range.end().show());
        self.check(rule, move |value| range.contains(value))
    }

    /// Accepts only values for which `accept` holds; `rule` completes the sentence "must be ...".
    pub fn check(mut self, rule: impl AsRef<str>, accept: impl Fn(&T) -> bool + 'r) -> Self {
        self.rule = format!("{}, {}", self.rule, rule.as_ref());
        self.checks.push(Box::new(accept));
        self
    }

    /// The value, or `None` when it is not set.
    pub fn optional(self) -> Option<T> {
        self.read(Requirement::Optional)
    }

    /// The value, or `default` when it is not set.
    pub fn default(self, default: T) -> T {
        let shown = if T::SECRET { crate::secret::REDACTED.to_owned() } else { default.show() };
        self.read(Requirement::Default(shown)).unwrap_or(default)
    }

    /// The value. When it is not set, that is a problem, and the result is a stand-in that
    /// [`ConfigReader::finish`] will not let through.
    pub fn required(self) -> T {
        self.read(Requirement::Required).unwrap_or_else(T::stand_in)
    }

    fn read(self, requirement: Requirement) -> Option<T> {
        let Self { reader, name, help, rule, checks, .. } = self;
        let required = requirement == Requirement::Required;
        reader.described.push(Description {
            name: name.clone(),
            help,
            rule: rule.clone(),
            requirement,
            secret: T::SECRET,
        });
        let raw = if T::SECRET { reader.raw_secret(&name) } else { reader.raw(&name) };
        let problem = match raw {
            Err(rule) => Problem { name, found: None, rule: rule.to_owned() },
            Ok(None) if required => Problem { name, found: None, rule: format!("must be set: {help}") },
            Ok(None) => return None,
            Ok(Some(text)) => match T::parse(&text).filter(|value| checks.iter().all(|accept| accept(value)))
            {
                Some(value) => return Some(value),
                None => Problem { name, found: Some(shown::<T>(&text)), rule: format!("must be {rule}") },
            },
        };
        reader.problems.push(problem);
        None
    }
}

fn shown<T: ConfigValue>(text: &str) -> String {
    if T::SECRET || T::may_hide_secret(text) {
        return crate::secret::REDACTED.to_owned();
    }
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// What happens when a variable is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    Required,
    Optional,
    /// This value is taken.
    Default(String),
}

/// One variable, for help texts and for checks of deployment files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub name: Cow<'static, str>,
    pub help: &'static str,
    /// What a value must be.
    pub rule: String,
    pub requirement: Requirement,
    /// Whether the value is never shown, and may be given as `NAME_FILE`.
    pub secret: bool,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}; {}", self.name, self.help, self.rule)?;
        match &self.requirement {
            Requirement::Required => f.write_str("; required")?,
            Requirement::Optional => f.write_str("; optional")?,
            Requirement::Default(value) => write!(f, "; default {value}")?,
        }
        if self.secret { write!(f, "; or {}_FILE names a file that holds it", self.name) } else { Ok(()) }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub name: Cow<'static, str>,
    /// What it was set to; never the value of a secret.
    pub found: Option<String>,
    /// The rule that it breaks.
    pub rule: String,
}

/// Everything that is wrong with the configuration, one line for each variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        for Problem { name, found, rule } in &self.0 {
            write!(f, "\n  {name} {rule}")?;
            if let Some(found) = found {
                write!(f, "; found {found:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::Secret;

    fn read(values: &[(&str, &str)]) -> ConfigReader {
        ConfigReader::from_map(values.iter().copied())
    }

    #[test]
    fn every_problem_is_reported_at_once_with_variable_value_and_rule() {
        let mut reader = read(&[("PORTS", "x"), ("LIMIT", "11"), ("ON", "perhaps")]);
        let _: SocketAddr = reader.var("PORTS", "where to listen").required();
        let _: u32 = reader.var("LIMIT", "how many").range(1..=10).default(5);
        let _: bool = reader.var("ON", "whether").default(true);
        let _: String = reader.var("NAME", "who it is").required();
        let message = reader.finish(()).unwrap_err().to_string();
        assert_eq!(
            message,
            "the configuration is wrong:\n  \
             PORTS must be an address such as 127.0.0.1:8080; found \"x\"\n  \
             LIMIT must be a whole number, from 1 to 10; found \"11\"\n  \
             ON must be true or false; found \"perhaps\"\n  \
             NAME must be set: who it is"
        );
    }

    #[test]
    fn a_wrong_secret_is_reported_without_its_value() {
        let mut reader = read(&[("TOKEN", "short-but-secret"), ("PEER", "http://me:pw-in-url@host/")]);
        let _: Secret = reader
            .var("TOKEN", "who may")
            .check("at least 100 long", |s: &Secret| s.expose().len() > 99)
            .required();
        let _: http::Uri = reader.var("PEER", "whom to call").required();
        let errors = reader.finish(()).unwrap_err();
        assert_eq!(errors.problems().len(), 2);
        let text = format!("{errors} {errors:?} {reader:?}");
        assert!(!text.contains("short-but") && !text.contains("pw-in-url"), "{text}");
    }

    #[test]
    fn blanks_count_as_unset() {
        let mut reader = read(&[("WAIT", "  ")]);
        assert_eq!(reader.var("WAIT", "how long").default(Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(reader.var::<String>("WAIT", "how long").optional(), None);
        reader.finish(()).unwrap();
    }

    #[test]
    fn a_secret_may_stand_in_a_file() {
        let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::now_v7()));
        std::fs::write(&path, "from-the-file\n").unwrap();
        let path_text = path.to_str().unwrap();
        let mut reader = read(&[("TOKEN_FILE", path_text), ("BOTH_FILE", path_text), ("BOTH", "direct")]);
        assert_eq!(reader.var::<Secret>("TOKEN", "t").required().expose(), "from-the-file");
        let _: Secret = reader.var("BOTH", "t").required();
        std::fs::remove_file(path).unwrap();
        assert_eq!(reader.finish(()).unwrap_err().problems()[0].name, "BOTH");
    }

    #[test]
    fn every_variable_is_described_with_its_default() {
        let mut reader = read(&[]);
        let _: u16 = reader.var("LIMIT", "how many").default(5);
        let _: Option<Secret> = reader.var("TOKEN", "who may").optional();
        let [limit, token] = reader.describe() else { panic!("two variables were read") };
        assert_eq!(limit.to_string(), "LIMIT\n    how many; a whole number; default 5");
        assert!(token.secret && token.to_string().ends_with("TOKEN_FILE names a file that holds it"));
    }
}
