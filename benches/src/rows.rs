//! The table of targets: which figure stands against which, and how far it has to come. Rendered from the figures of one
//! or several runs, as text and as Markdown.

use crate::figures::Runs;
use crate::limits::Limit;

/// Ours may be this part of the sketch's at least.
pub const OF_FLOOR: f64 = 0.8;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// One row of the table.
pub struct Row {
    pub work: &'static str,
    /// The name of our figure. The sketch's has `/floor` behind it.
    pub ours: &'static str,
    pub better: Better,
    /// The name of the figure that it stands against.
    pub against: &'static str,
    pub against_is: &'static str,
    /// What ours divided by that has to be: at least, or at most.
    pub target: f64,
}

/// What the design promises of the event log.
pub fn targets() -> Vec<Row> {
    use Better::{Less, More};
    let row = |work, ours, better, against, against_is, target| Row {
        work,
        ours,
        better,
        against,
        against_is,
        target,
    };
    let (one_row, batches) = ("pgbench, one row, 32 clients", "pgbench, 200-row batches, one connection");
    let peer = "disintegrate";
    vec![
        row("append 1 event, 32 clients", "w1/32", More, Limit::Insert.figure(), one_row, 2.0),
        row("append 1 event, 256 clients", "w1/256", More, Limit::InsertBatch.figure(), batches, 0.6),
        row(
            "load 20, decide, append, 32 clients, cached",
            "w2/warm",
            More,
            Limit::Cycle.figure(),
            "pgbench, the same in SQL",
            5.5,
        ),
        row(
            "the same, nothing cached",
            "w2/cold",
            More,
            Limit::Cycle.figure(),
            "pgbench, the same in SQL",
            2.2,
        ),
        row("32 clients on one stream", "w3", More, "w1/32", "append, 32 clients", 1.0),
        row(
            "one client's command, cached, p50",
            "one/p50",
            Less,
            Limit::InsertAlone.figure(),
            "pgbench, one row, 1 client",
            1.5,
        ),
        row("replay 200,000 events, counter", "w4/replay", More, "peer/disintegrate/replay", peer, 2.0),
        row("append to handler, 200/s, p50", "w4/delay p50", Less, "peer/disintegrate/delay p50", peer, 0.4),
        row("append to handler, 200/s, p99", "w4/delay p99", Less, "peer/disintegrate/delay p99", peer, 0.3),
        row(
            "full-speed appends with a subscriber",
            "w4/full speed",
            More,
            "w4/full speed, alone",
            "append without one",
            0.9,
        ),
    ]
}

/// One row with its figures.
pub struct Filled {
    pub work: &'static str,
    pub ours: String,
    pub against: String,
    pub against_is: &'static str,
    pub ratio: String,
    pub target: String,
    /// Whether the median reaches the target; `None` when there was nothing to compare with.
    pub reached: Option<bool>,
    pub floor: String,
    pub of_floor: String,
    pub floor_held: Option<bool>,
}

impl Row {
    /// `None` when ours was not measured.
    pub fn fill(&self, runs: &Runs) -> Option<Filled> {
        let floor = format!("{}/floor", self.ours);
        let ratio = runs.ratio(self.ours, self.against);
        // Of the floor means of its speed, so times are turned round.
        let of_floor = match self.better {
            Better::More => runs.ratio(self.ours, &floor),
            Better::Less => runs.ratio(&floor, self.ours),
        };
        let (sign, reached) = match self.better {
            Better::More => (">=", ratio.map(|ratio| ratio.median >= self.target)),
            Better::Less => ("<=", ratio.map(|ratio| ratio.median <= self.target)),
        };
        let none = || "-".to_owned();
        let show = |ratio: Option<crate::figures::Spread>| {
            ratio.map_or_else(none, |ratio| ratio.show(|value| format!("{value:.2}")))
        };
        Some(Filled {
            work: self.work,
            ours: runs.show(self.ours)?,
            against: runs.show(self.against).unwrap_or_else(none),
            against_is: self.against_is,
            ratio: show(ratio),
            target: format!("{sign} {}", self.target),
            reached,
            floor: runs.show(&floor).unwrap_or_else(none),
            of_floor: show(of_floor),
            floor_held: of_floor.map(|ratio| ratio.median >= OF_FLOOR),
        })
    }
}

/// A verdict as a word.
pub fn verdict(reached: Option<bool>) -> &'static str {
    match reached {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    }
}

/// Rows as a table for the terminal.
pub fn as_text(rows: &[Filled]) -> String {
    let mut lines = vec![
        ["", "ours", "limit", "ratio", "target", "reached", "ours/floor", "limit is"].map(str::to_owned),
    ];
    lines.extend(rows.iter().map(|row| {
        [
            row.work.to_owned(),
            row.ours.clone(),
            row.against.clone(),
            row.ratio.clone(),
            row.target.clone(),
            verdict(row.reached).to_owned(),
            row.of_floor.clone(),
            row.against_is.to_owned(),
        ]
    }));
    aligned(&lines)
}

/// Cells in columns, the first to the left and the others to the right.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            match column {
                0 => text.push_str(&format!("{cell:<width$}")),
                last if last == N - 1 => text.push_str(&format!("  {cell}")),
                _ => text.push_str(&format!("  {cell:>width$}")),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figure, Unit};

    fn runs(pairs: &[(&str, f64)]) -> Runs {
        let figure = |value| Figure { unit: Unit::PerSecond, value };
        Runs(vec![pairs.iter().map(|(name, value)| ((*name).to_owned(), figure(*value))).collect()])
    }

    #[test]
    fn a_row_is_reached_at_its_target_and_compared_with_the_floor() {
        let row =
            Row { work: "w", ours: "a", better: Better::More, against: "b", against_is: "", target: 2.0 };
        let filled = row.fill(&runs(&[("a", 40.0), ("b", 20.0), ("a/floor", 60.0)])).unwrap();
        assert_eq!((filled.reached, filled.floor_held), (Some(true), Some(false)));
    }

    #[test]
    fn less_is_better_where_times_are_compared() {
        let row =
            Row { work: "w", ours: "a", better: Better::Less, against: "b", against_is: "", target: 0.5 };
        let filled = row.fill(&runs(&[("a", 4.0), ("b", 5.0), ("a/floor", 3.6)])).unwrap();
        assert_eq!((filled.reached, filled.floor_held), (Some(false), Some(true)));
    }

    #[test]
    fn a_row_without_its_limit_says_nothing_of_its_target() {
        let row =
            Row { work: "w", ours: "a", better: Better::More, against: "b", against_is: "", target: 2.0 };
        assert_eq!(row.fill(&runs(&[("a", 40.0)])).unwrap().reached, None);
        assert!(row.fill(&runs(&[("b", 40.0)])).is_none());
    }
}
