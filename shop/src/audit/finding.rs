//! What an audit says: one finding for each check, with a few examples of what breaks it. Examples name ids,
//! statuses and amounts, never persons, tokens or texts that somebody wrote.

use serde::Serialize;

/// Examples that a finding shows; the others are counted.
pub const MAX_EXAMPLES: usize = 10;

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// An invariant does not hold.
    Broken,
    /// No invariant is touched, and a person should look.
    Warning,
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name, for scripts. It never changes.
    pub check: String,
    /// The rule in words.
    pub rule: &'static str,
    pub verdict: Verdict,
    /// How many things were looked at.
    pub judged: u64,
    /// How many of them break the rule.
    pub failed: u64,
    /// Some of those.
    pub examples: Vec<String>,
    #[serde(skip)]
    severity: Verdict,
}

impl Finding {
    /// A check of an invariant.
    pub fn invariant(check: impl Into<String>, rule: &'static str) -> Self {
        Self::new(check.into(), rule, Verdict::Broken)
    }

    /// A list of what a person should look at.
    pub fn notice(check: impl Into<String>, rule: &'static str) -> Self {
        Self::new(check.into(), rule, Verdict::Warning)
    }

    fn new(check: String, rule: &'static str, severity: Verdict) -> Self {
        Self { check, rule, verdict: Verdict::Ok, judged: 0, failed: 0, examples: Vec::new(), severity }
    }

    /// Looks at one thing. `example` names it, if it breaks the rule.
    pub fn judge(&mut self, holds: bool, example: impl FnOnce() -> String) {
        self.judged += 1;
        if !holds {
            self.fail(example);
        }
    }

    /// Counts something that breaks the rule, and was counted as judged before.
    pub fn fail(&mut self, example: impl FnOnce() -> String) {
        self.failed += 1;
        self.verdict = self.severity;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(example());
        }
    }

    /// Counts things that break the rule beyond those that were named.
    pub fn fail_more(&mut self, count: u64) {
        if count > 0 {
            self.failed += count;
            self.verdict = self.severity;
        }
    }
}

/// All findings of one audit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every invariant holds.
    pub ok: bool,
    /// Events that were read.
    pub events: u64,
    pub seconds: f64,
    pub findings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_a_few_examples_and_counts_all() {
        let mut finding = Finding::invariant("even", "numbers are even");
        (0..40).for_each(|n: u32| finding.judge(n.is_multiple_of(2), || n.to_string()));
        assert_eq!((finding.verdict, finding.judged, finding.failed), (Verdict::Broken, 40, 20));
        assert_eq!(finding.examples.len(), MAX_EXAMPLES);
        assert_eq!(finding.examples[0], "1");
    }

    #[test]
    fn a_notice_is_never_a_broken_invariant() {
        let mut finding = Finding::notice("parked", "nothing is parked");
        finding.fail(|| "one".to_owned());
        assert_eq!(finding.verdict, Verdict::Warning);
    }
}
