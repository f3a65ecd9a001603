//! The tables of targets: which figure stands against which, and how far it has to come. Filled from the figures of one
//! or several runs.

use crate::cluster;
use crate::figures::{Runs, Spread};
use crate::growth::{self, LONG_POWER, POWERS};
use crate::import;
use crate::limits::Limit;
use crate::orders;
use crate::search;

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
    pub work: String,
    /// The name of our figure. The sketch's has `/floor` behind it.
    pub ours: String,
    pub better: Better,
    /// The name of the figure that it stands against, and what that is. Without one the figure itself has a target.
    pub against: Option<(String, &'static str)>,
    /// What ours, divided by that, has to be: at least, or at most.
    pub target: Option<f64>,
}

impl Row {
    fn new(work: &str, ours: &str, better: Better, target: Option<f64>) -> Self {
        Self { work: work.to_owned(), ours: ours.to_owned(), better, against: None, target }
    }

    fn against(self, figure: &str, is: &'static str) -> Self {
        Self { against: Some((figure.to_owned(), is)), ..self }
    }
}

const MORE: Better = Better::More;
const LESS: Better = Better::Less;

/// What the design promises of the event log.
pub fn log_targets() -> Vec<Row> {
    let (insert, cycle) = (Limit::Insert.figure(), Limit::Cycle.figure());
    let (one_row, the_same, peer) =
        ("pgbench, one row, 32 clients", "pgbench, the same in SQL", "disintegrate");
    let row = |work, ours, better, target| Row::new(work, ours, better, Some(target));
    vec![
        row("append 1 event, 32 clients", "w1/32", MORE, 2.0).against(insert, one_row),
        row("append 1 event, 256 clients", "w1/256", MORE, 0.6)
            .against(Limit::InsertBatch.figure(), "pgbench, 200-row batches, one connection"),
        row("load 20, decide, append, 32 clients, cached", "w2/warm", MORE, 5.5).against(cycle, the_same),
        row("the same, nothing cached", "w2/cold", MORE, 2.2).against(cycle, the_same),
        row("32 clients on one stream", "w3", MORE, 1.0).against("w1/32", "append, 32 clients"),
        row("one client's command, cached, p50", "one/p50", LESS, 1.5)
            .against(Limit::InsertAlone.figure(), "pgbench, one row, 1 client, p50"),
        row("replay 200,000 events into a counter", "w4/replay", MORE, 2.0)
            .against("peer/disintegrate/replay", peer),
        row("append to handler at 200/s, p50", "w4/delay p50", LESS, 0.4)
            .against("peer/disintegrate/delay p50", peer),
        row("append to handler at 200/s, p99", "w4/delay p99", LESS, 0.3)
            .against("peer/disintegrate/delay p99", peer),
        row("full-speed appends with a subscriber", "w4/full speed", MORE, 0.9)
            .against("w4/full speed, alone", "append without one"),
    ]
}

/// What the whole shop has to reach, load generator included.
pub fn shop_targets() -> Vec<Row> {
    let row = Row::new;
    vec![
        row("confirmed orders over REST, 32 clients", "orders/32 clients", MORE, Some(300.0)),
        row("confirmed orders over REST, 64 clients", "orders/64 clients", MORE, Some(300.0)),
        row("one client's order, placed to confirmed, p50", "orders/1 client, p50", LESS, Some(25.0)),
        row("the same, p99", "orders/1 client, p99", LESS, None),
        row("the same in the log, p50", "orders/1 client, in the log, p50", LESS, None),
        row("placed to confirmed at half the maximal rate, p50", "orders/half rate, p50", LESS, None),
        row("the same, p99", "orders/half rate, p99", LESS, Some(150.0)),
        row("GET product over REST", "reads/rest get", MORE, Some(0.5))
            .against("limit/bare rest get", "bare axum that makes the same JSON from memory"),
        row("list of products over REST", "reads/rest list", MORE, None)
            .against("limit/bare rest list", "bare axum that makes the same JSON from memory"),
        row("GetProduct over gRPC", "reads/grpc get", MORE, Some(0.7))
            .against("limit/bare grpc get", "bare tonic, the same message from memory"),
        row("ListProducts over gRPC", "reads/grpc list", MORE, None)
            .against("limit/bare grpc list", "bare tonic, the same message from memory"),
    ]
}

/// What importing and rebuilding promise.
pub fn catalogue_targets() -> Vec<Row> {
    let row = Row::new;
    let mut rows = Vec::new();
    for (shape, _) in import::SHAPES {
        let name = |name: &str| format!("{name}, {shape}");
        rows.push(row(
            &format!("import of 100,000 rows, {shape}"),
            &name("import/first"),
            MORE,
            Some(5_000.0),
        ));
        let memory = name("import/first") + ", memory of the command";
        rows.push(row("the same, memory of the command", &memory, LESS, Some(200.0)));
        rows.push(row("the same again, which changes nothing", &name("import/again"), MORE, None));
        rows.push(row("the same as a dry run", &name("import/dry run"), MORE, None));
        rows.push(row("exported, with the wait for the read model", &name("export"), MORE, None));
        let memory = format!("import/{shape}, memory of the shop");
        rows.push(row("all of these, most memory of the shop", &memory, LESS, None));
    }
    rows.push(
        row(
            "products created while their read model is rebuilt",
            "rebuild/writes beside rebuilds",
            MORE,
            Some(0.8),
        )
        .against("rebuild/writes alone", "the same without"),
    );
    rows
}

/// What copying a log into Kafka promises, at 500 events a second and as fast as it goes.
pub fn relay_targets() -> Vec<Row> {
    let row = Row::new;
    vec![
        row("commit to acknowledgement, p50", "relay/commit to acknowledged, p50", LESS, Some(3.0)),
        row("the same, p99", "relay/commit to acknowledged, p99", LESS, Some(25.0)),
        row("the same beside a bare producer, p50", "relay/commit to acknowledged, p50", LESS, None)
            .against("limit/bare producer, p50", "a bare idempotent producer"),
        row("the same beside a bare producer, p99", "relay/commit to acknowledged, p99", LESS, None)
            .against("limit/bare producer, p99", "a bare idempotent producer"),
        row("a log copied into its topic", "relay/throughput", MORE, Some(1.0))
            .against("limit/ProducerPerformance", "Kafka's ProducerPerformance"),
    ]
}

/// What becomes of orders when services are processes of their own with Kafka between them.
pub fn cluster_targets() -> Vec<Row> {
    let all_in_one = "the all-in-one";
    let mut rows = Vec::new();
    for clients in orders::CLIENTS {
        let (ours, other) = (cluster::CLUSTER, cluster::ALL_IN_ONE);
        let what = format!("confirmed orders over REST, {clients} clients");
        let row = Row::new(&what, &cluster::figure(ours, clients), MORE, None);
        rows.push(row.against(&cluster::figure(other, clients), all_in_one));
    }
    for quantile in ["p50", "p99"] {
        let figure = |name: &str| cluster::half_rate(name, quantile);
        let what = format!("placed to confirmed at half of each one's maximal rate, {quantile}");
        let row = Row::new(&what, &figure(cluster::CLUSTER), LESS, None);
        rows.push(row.against(&figure(cluster::ALL_IN_ONE), all_in_one));
    }
    rows
}

/// How figures change with the size of the log.
pub fn growth_targets() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, name, better) in [
        ("append, 32 clients", "append", MORE),
        ("load 20, decide, append, 32 clients, cached", "command", MORE),
        ("one client's order, p50", "order/1 client, p50", LESS),
    ] {
        for power in POWERS.into_iter().chain([LONG_POWER]) {
            let target = (power == LONG_POWER && better == MORE).then_some(0.85);
            let row =
                Row::new(&format!("{what}, 10^{power} events"), &growth::figure(name, power), better, target);
            rows.push(row.against(&growth::figure(name, POWERS[0]), "with 10^4 events"));
        }
    }
    rows
}

/// What search promises, by the number of products.
pub fn search_targets() -> Vec<Row> {
    let mut rows = Vec::new();
    for (power, highest) in [(5, 25.0), (6, 80.0)] {
        for (work, p99) in
            [("search", Some(highest)), ("list with facets", Some(highest)), ("product by id", None)]
        {
            let what = format!("{work} in 10^{power} products");
            let figure = |suffix: &str| search::figure(power, &format!("{work}{suffix}"));
            let p50 = format!("{what}, 100/s, p50");
            rows.push(
                Row::new(&p50, &figure(", p50"), LESS, None)
                    .against(&primary_key(power, ", p50"), PRIMARY_KEY),
            );
            rows.push(Row::new(&format!("{what}, 100/s, p99"), &figure(", p99"), LESS, p99));
            let fastest = Row::new(&format!("{what}, maximal rate"), &figure(""), MORE, None);
            rows.push(fastest.against(&primary_key(power, ""), PRIMARY_KEY));
        }
    }
    rows
}

const PRIMARY_KEY: &str = "SELECT by primary key";

fn primary_key(power: u32, suffix: &str) -> String {
    search::figure(power, &format!("{PRIMARY_KEY}{suffix}"))
}

/// One row with its figures.
pub struct Filled {
    pub work: String,
    pub ours: String,
    pub against: String,
    pub against_is: &'static str,
    pub ratio: String,
    pub target: String,
    /// Whether the median reaches the target; `None` when there is none, or nothing to compare with.
    pub reached: Option<bool>,
    pub floor: String,
    pub of_floor: String,
    pub floor_held: Option<bool>,
}

impl Row {
    /// `None` when ours was not measured.
    pub fn fill(&self, runs: &Runs) -> Option<Filled> {
        let floor = format!("{}/floor", self.ours);
        // Of the floor means of its speed, so times are turned round.
        let of_floor = match self.better {
            Better::More => runs.ratio(&self.ours, &floor),
            Better::Less => runs.ratio(&floor, &self.ours),
        };
        let ratio = self.against.as_ref().and_then(|(figure, _)| runs.ratio(&self.ours, figure));
        let compared = if self.against.is_some() { ratio } else { runs.spread(&self.ours) };
        let reached = compared.zip(self.target).map(|(compared, target)| match self.better {
            Better::More => compared.median >= target,
            Better::Less => compared.median <= target,
        });
        let sign = if self.better == Better::More { ">=" } else { "<=" };
        let none = || "-".to_owned();
        let show = |ratio: Option<Spread>| ratio.map_or_else(none, |r| r.show(|value| format!("{value:.2}")));
        Some(Filled {
            work: self.work.clone(),
            ours: runs.show(&self.ours)?,
            against: self.against.as_ref().and_then(|(figure, _)| runs.show(figure)).unwrap_or_else(none),
            against_is: self.against.as_ref().map_or("-", |(_, is)| *is),
            ratio: show(ratio),
            target: self.target.map_or_else(none, |target| format!("{sign} {target}")),
            reached,
            floor: runs.show(&floor).unwrap_or_else(none),
            of_floor: show(of_floor),
            floor_held: of_floor.map(|ratio| ratio.median >= OF_FLOOR),
        })
    }
}

/// The rows whose own figure was measured.
pub fn filled(rows: &[Row], runs: &Runs) -> Vec<Filled> {
    rows.iter().filter_map(|row| row.fill(runs)).collect()
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
            row.work.clone(),
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
        let row = Row::new("w", "a", Better::More, Some(2.0)).against("b", "");
        let filled = row.fill(&runs(&[("a", 40.0), ("b", 20.0), ("a/floor", 60.0)])).unwrap();
        assert_eq!((filled.reached, filled.floor_held), (Some(true), Some(false)));
    }

    #[test]
    fn less_is_better_where_times_are_compared() {
        let row = Row::new("w", "a", Better::Less, Some(0.5)).against("b", "");
        let filled = row.fill(&runs(&[("a", 4.0), ("b", 5.0), ("a/floor", 3.6)])).unwrap();
        assert_eq!((filled.reached, filled.floor_held), (Some(false), Some(true)));
    }

    #[test]
    fn a_row_without_its_limit_says_nothing_of_its_target() {
        let row = Row::new("w", "a", Better::More, Some(2.0)).against("b", "");
        assert_eq!(row.fill(&runs(&[("a", 40.0)])).unwrap().reached, None);
        assert!(row.fill(&runs(&[("b", 40.0)])).is_none());
    }

    #[test]
    fn a_figure_that_stands_alone_has_a_target_of_its_own() {
        let row = Row::new("w", "a", Better::Less, Some(25.0));
        assert_eq!(row.fill(&runs(&[("a", 11.0)])).unwrap().reached, Some(true));
    }
}
