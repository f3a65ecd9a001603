//! What was measured: the figures of one run by name, and over several runs their median, lowest and highest. Ratios are
//! taken within a run and only then across runs, since absolute figures drift with the machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    PerSecond,
    Milliseconds,
    Seconds,
    Mebibytes,
    Count,
}

impl Unit {
    /// The value as a person reads it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Mebibytes => format!("{value:.0} MiB"),
            Self::Count => grouped(value),
        }
    }
}

/// A number with commas between its thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One measured number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub unit: Unit,
    pub value: f64,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.unit.show(self.value))
    }
}

/// The figures of one run.
pub type Figures = BTreeMap<String, Figure>;

/// The middle of several values, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
    /// How many values there are.
    pub count: usize,
}

impl Spread {
    /// `None` when there is nothing to count.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (count, lowest, highest) = (values.len(), *values.first()?, *values.last()?);
        let median = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
        Some(Self { median, lowest, highest, count })
    }

    /// The median, and in brackets lowest and highest if there are several values.
    pub fn show(&self, one: impl Fn(f64) -> String) -> String {
        match self.count {
            1 => one(self.median),
            _ => format!("{} ({} - {})", one(self.median), one(self.lowest), one(self.highest)),
        }
    }
}

/// The figures of several runs.
#[derive(Default, Serialize, Deserialize)]
pub struct Runs(pub Vec<Figures>);

impl Runs {
    /// One figure over all runs, ready to be shown.
    pub fn show(&self, name: &str) -> Option<String> {
        let unit = self.0.iter().find_map(|run| run.get(name))?.unit;
        Some(self.spread(name)?.show(|value| unit.show(value)))
    }

    /// One figure over all runs that have it.
    pub fn spread(&self, name: &str) -> Option<Spread> {
        Spread::of(self.0.iter().filter_map(|run| run.get(name)).map(|figure| figure.value))
    }

    /// One figure divided by another, over all runs that have both.
    pub fn ratio(&self, name: &str, of: &str) -> Option<Spread> {
        let both = self.0.iter().filter_map(|run| Some((run.get(name)?, run.get(of)?)));
        Spread::of(both.map(|(figure, of)| figure.value / of.value))
    }

    /// The names of all figures.
    pub fn names(&self) -> Vec<&str> {
        let all: std::collections::BTreeSet<&str> =
            self.0.iter().flat_map(|run| run.keys().map(String::as_str)).collect();
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pairs: &[(&str, f64)]) -> Figures {
        let figure = |value| Figure { unit: Unit::PerSecond, value };
        pairs.iter().map(|(name, value)| ((*name).to_owned(), figure(*value))).collect()
    }

    #[test]
    fn the_median_stands_between_the_middle_two_of_an_even_number() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.lowest, spread.highest), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_run() {
        let runs = Runs(vec![
            run(&[("ours", 10.0), ("limit", 5.0)]),
            run(&[("ours", 60.0), ("limit", 20.0)]),
            run(&[("ours", 1.0)]),
        ]);
        let ratio = runs.ratio("ours", "limit").unwrap();
        assert_eq!((ratio.median, ratio.lowest, ratio.highest, ratio.count), (2.5, 2.0, 3.0, 2));
    }

    #[test]
    fn figures_are_shown_with_their_unit_and_spread() {
        let runs = Runs(vec![run(&[("w", 1_234_567.0)]), run(&[("w", 999.4)]), run(&[("w", 12_000.0)])]);
        assert_eq!(runs.show("w").unwrap(), "12,000/s (999/s - 1,234,567/s)");
        assert_eq!(Unit::Milliseconds.show(0.456), "0.46 ms");
    }
}
