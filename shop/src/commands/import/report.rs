//! What an import says of what it does: a line for each product that is worth one, and the sums at the end.

use std::path::Path;

use contracts::shop::product::v1::{ImportOutcome, ImportProductResponse};
use eventsourcing::Position;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::refusal::Refusal;

/// Refused products that are printed with their reasons, as text; further ones are counted. JSON has them all.
const MAX_REFUSALS_PRINTED: u64 = 200;
/// Products that are printed with what would change of them, as text; further ones are counted. JSON has them all.
const MAX_CHANGES_PRINTED: u64 = 1_000;

/// How an import says what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Text,
    Json,
    Silent,
}

/// What became of one product.
pub struct Imported {
    pub handle: String,
    /// The last line of its last row.
    pub last_line: u64,
    /// None when it is refused.
    pub reply: Option<ImportProductResponse>,
    pub stock_received: u64,
    pub refusals: Vec<Refusal>,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Whole, or in some of its stock; then it is among the others too.
    pub refused: u64,
    pub stock_received: u64,
}

/// Counts and prints.
pub struct Report {
    pub counts: Counts,
    /// How far the catalogue's log has come with it.
    pub reached: Option<Position>,
    output: Output,
    dry_run: bool,
    bar: ProgressBar,
}

impl Imported {
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            handle: refusal.handle().to_owned(),
            last_line: refusal.last_line(),
            reply: None,
            stock_received: 0,
            refusals: vec![refusal],
        }
    }
}

impl Report {
    /// A report that goes on from what was `counted` before.
    pub fn new(counted: Counts, dry_run: bool, output: Output, bar: ProgressBar) -> Self {
        Self { counts: counted, reached: None, output, dry_run, bar }
    }

    pub fn add(&mut self, imported: &Imported) {
        self.counts.stock_received += imported.stock_received;
        if let Some(reply) = &imported.reply {
            self.add_reply(&imported.handle, reply);
        }
        if !imported.refusals.is_empty() {
            self.counts.refused += 1;
        }
        imported.refusals.iter().for_each(|refusal| self.say_refusal(refusal));
    }

    pub fn read(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// That an interrupted import of `file` goes on behind `line`.
    pub fn say_resumed(&self, file: &Path, line: u64) {
        match self.output {
            Output::Text => self.say(&format!(
                "Goes on at line {} of {}: an import of it was interrupted there.",
                line + 1,
                file.display()
            )),
            Output::Json => println!("{}", json!({ "resumedAtLine": line + 1 })),
            Output::Silent => {}
        }
    }

    fn add_reply(&mut self, handle: &str, reply: &ImportProductResponse) {
        if let Ok(position) = reply.position.parse::<Position>()
            && self.reached.as_ref().is_none_or(|reached| reached.number < position.number)
        {
            self.reached = Some(position);
        }
        let outcome = reply.outcome();
        *match outcome {
            ImportOutcome::Created => &mut self.counts.created,
            ImportOutcome::Updated => &mut self.counts.updated,
            ImportOutcome::Unchanged | ImportOutcome::Unspecified => &mut self.counts.unchanged,
        } += 1;
        if self.output == Output::Json && outcome != ImportOutcome::Unchanged {
            let line = json!({
                "handle": handle, "outcome": outcome.as_str_name(), "productId": reply.product_id,
                "changedFields": reply.changed_fields, "pricesChanged": reply.prices_changed,
                "variantsAdded": reply.variants_added, "notes": reply.notes,
            });
            println!("{line}");
        }
        if self.output == Output::Text {
            let changed = self.counts.created + self.counts.updated;
            if self.dry_run && outcome != ImportOutcome::Unchanged && changed <= MAX_CHANGES_PRINTED {
                self.say(&would_change(handle, reply));
            }
            reply.notes.iter().for_each(|note| self.say(&format!("{handle}: {note}")));
        }
    }

    /// A refused product is said whatever the output: it is missing afterwards.
    fn say_refusal(&self, refusal: &Refusal) {
        if self.output == Output::Json {
            println!("{}", json!({ "handle": refusal.handle(), "outcome": "REFUSED", "refused": refusal }));
        } else if self.counts.refused <= MAX_REFUSALS_PRINTED {
            self.say(&refusal.to_string());
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }

    /// The sums. `complete` says whether the whole file was gone through.
    pub fn summarize(&self, with_stock: bool, complete: bool) {
        self.bar.finish_and_clear();
        let Counts { created, updated, unchanged, refused, stock_received } = self.counts;
        if self.output == Output::Json {
            let line = json!({
                "created": created, "updated": updated, "unchanged": unchanged, "refused": refused,
                "stockReceived": stock_received, "dryRun": self.dry_run, "complete": complete,
            });
            println!("{line}");
            return;
        }
        if let Some(more @ 1..) = (created + updated).checked_sub(MAX_CHANGES_PRINTED)
            && self.dry_run
        {
            println!("{more} more products would change; `--json` prints them all.");
        }
        if let Some(more @ 1..) = refused.checked_sub(MAX_REFUSALS_PRINTED) {
            println!("{more} more products are refused; `--json` prints them all.");
        }
        let would = if self.dry_run { "would be " } else { "" };
        println!(
            "{created} products {would}created, {updated} {would}updated, {unchanged} unchanged, {refused} refused."
        );
        if with_stock {
            println!("{stock_received} pieces received.");
        }
    }
}

/// What a dry run says of a product that would not stay as it is.
fn would_change(handle: &str, reply: &ImportProductResponse) -> String {
    let counted = |count: i32, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let variants = counted(reply.variants_added, "new variant", "new variants");
    if reply.outcome() == ImportOutcome::Created {
        let variants = counted(reply.variants_added, "variant", "variants");
        return format!("{handle}: would be created, with {}", variants.unwrap_or_else(|| "nothing".into()));
    }
    let changes: Vec<String> = reply
        .changed_fields
        .iter()
        .cloned()
        .chain(counted(reply.prices_changed, "price", "prices"))
        .chain(variants)
        .collect();
    format!("{handle}: would be updated: {}", changes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_what_would_change_of_a_product_in_one_line() {
        let reply = |outcome: ImportOutcome, fields: &[&str], prices_changed, variants_added| {
            let changed_fields = fields.iter().map(|field| (*field).to_owned()).collect();
            ImportProductResponse {
                outcome: outcome.into(),
                changed_fields,
                prices_changed,
                variants_added,
                ..Default::default()
            }
        };
        let created = reply(ImportOutcome::Created, &[], 0, 2);
        assert_eq!(would_change("mug", &created), "mug: would be created, with 2 variants");
        let updated = reply(ImportOutcome::Updated, &["name", "tags"], 3, 1);
        assert_eq!(
            would_change("mug", &updated),
            "mug: would be updated: name, tags, 3 prices, 1 new variant"
        );
    }
}
