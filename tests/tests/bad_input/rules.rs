//! The rules that a field of a request can have. Each knows values that break it, and what a client is told for each.

use serde_json::{Value, json};

/// What a broken rule is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// INVALID_REQUEST at the field.
    Invalid,
    /// NOT_FOUND with this reason.
    NotFound(&'static str),
    /// A broken business rule, by its reason.
    Rule(&'static str),
    /// ABORTED or 412: somebody else changed it.
    Mismatch,
    /// Nothing: it is no use, and does no harm.
    Fine,
}

/// What a text may be.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    pub required: bool,
    pub max_chars: usize,
    /// If that is less than the characters could take.
    pub max_bytes: Option<usize>,
    /// Several lines may be written.
    pub breaks: bool,
    /// Blanks around it are refused.
    pub unframed: bool,
    /// Catalogue data is not searched for card numbers, since SKUs and barcodes pass for them by chance.
    pub cards: bool,
    /// Other values that it cannot have.
    pub wrong: &'static [&'static str],
    /// A well-formed value that means nothing, and what it is answered with.
    pub unknown: Option<(&'static str, Told)>,
    /// Stands before a text that is too long, where only what begins so is well formed.
    pub prefix: &'static str,
}

impl Text {
    /// One line of people's words, which may be empty.
    pub const fn of(max_chars: usize) -> Self {
        Self {
            required: false,
            max_chars,
            max_bytes: None,
            breaks: false,
            unframed: false,
            cards: false,
            wrong: &[],
            unknown: None,
            prefix: "",
        }
    }

    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub const fn bytes(self, max: usize) -> Self {
        Self { max_bytes: Some(max), ..self }
    }

    pub const fn breaks(self) -> Self {
        Self { breaks: true, ..self }
    }

    pub const fn unframed(self) -> Self {
        Self { unframed: true, ..self }
    }

    pub const fn may_hold_cards(self) -> Self {
        Self { cards: true, ..self }
    }

    pub const fn not(self, wrong: &'static [&'static str]) -> Self {
        Self { wrong, ..self }
    }

    pub const fn unknown(self, value: &'static str, told: Told) -> Self {
        Self { unknown: Some((value, told)), ..self }
    }

    pub const fn beginning(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }
}

/// The rule of one field.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// True or false; both are fine.
    Flag,
    /// Any text up to 255 characters without control characters.
    RequestId,
    /// A UUID; one that nobody has is not found.
    Id(&'static str),
    /// What a resource came with.
    Etag,
    MinPosition,
    PageSize,
    /// With a change of the filter (a member of the JSON and its value) that makes tokens another's.
    PageToken(Option<(&'static str, &'static str)>),
    /// Where a stream goes on.
    Cursor,
    Text(Text),
    /// Whole numbers. What lies outside of the first two is refused; the third is allowed and breaks a rule.
    Number(i64, i64, Option<(i64, Told)>),
    /// Whole numbers up to the first in either direction, but not zero; the second breaks a rule.
    Nonzero(i64, (i64, Told)),
    /// A currency; another one than it should be is told so.
    Currency(Option<Told>),
    /// An enumeration, of whose values these are not for clients.
    Enum(&'static [i32]),
    /// At least and at most so many entries.
    List(usize, usize, Entries),
    /// At most so many entries, with these names and values.
    Map(usize, Text, Text),
    /// Names of fields.
    Mask,
    /// A time; those that are well formed and break a rule.
    Time(Presence, &'static [(&'static str, Told)]),
    /// A message that must be there, or need not.
    Message(Presence),
    /// One of a oneof; the oneof's name.
    Member(&'static str, Text),
}

/// Whether a message must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

/// What a list has.
#[derive(Debug, Clone, Copy)]
pub enum Entries {
    /// Messages, whose fields have rules of their own. All alike.
    Messages,
    /// Texts; a violation names the entry.
    Texts(Text),
    /// Texts; a violation names the list.
    TextsAsOne(Text),
}

/// A value that breaks a rule.
#[derive(Debug, Clone)]
pub struct Bad {
    /// For the tally.
    pub kind: &'static str,
    /// `Null` takes the field out.
    pub value: Value,
    pub told: Told,
    /// The end of the violation's place, behind the field's.
    pub suffix: String,
    /// Other violations may stand beside the expected one.
    pub among_others: bool,
}

impl Bad {
    pub fn new(kind: &'static str, value: impl Into<Value>, told: Told) -> Self {
        Self { kind, value: value.into(), told, suffix: String::new(), among_others: false }
    }

    pub fn invalid(kind: &'static str, value: impl Into<Value>) -> Self {
        Self::new(kind, value, Told::Invalid)
    }
}

/// Card numbers as people write them.
pub const CARDS: [&str; 4] = [
    "4242 4242 4242 4242",
    "4242424242424242",
    "my card is 4242-4242-4242-4242",
    "3782\u{a0}822463\u{2013}10005",
];
/// What stands for anything that invisible characters may do.
const CONTROLS: [&str; 4] =
    ["line\u{0}with nul", "\u{7}bell in a line", "line\u{1b}[31mred", "line\u{85}next"];
/// A UUID that nobody has.
pub const NOBODY: &str = "018f0000-0000-7000-8000-000000000000";
/// Values of an enumeration that there are not.
const NO_VALUES: [i32; 3] = [99, -1, i32::MAX];
/// Texts that are no times.
const NO_TIMES: [&str; 7] = [
    "tomorrow",
    "2031-04-30",
    "2031-13-01T00:00:00Z",
    "2031-02-30T00:00:00Z",
    "2031-04-30T12:00:00",
    "10000-01-01T00:00:00Z",
    "4242 4242 4242 4242",
];
/// Texts that are no ids.
const NO_IDS: [&str; 6] =
    ["7", "not-an-identifier", "018f0000-0000-7000-8000-00000000000", "4242 4242 4242 4242", "a\u{0}b", "🦀"];

impl Text {
    /// Values that break it.
    pub fn bad(&self) -> Vec<Bad> {
        let mut bad = Vec::new();
        if self.required {
            bad.push(Bad::invalid("missing", Value::Null));
            bad.push(Bad::invalid("empty", ""));
        }
        let filler = "too-long-value-".repeat(self.max_chars / 15 + 2);
        let too_long: String = self.prefix.chars().chain(filler.chars()).take(self.max_chars + 1).collect();
        bad.push(Bad::invalid("too long", too_long));
        if let Some(max) = self.max_bytes {
            bad.push(Bad::invalid("too many bytes", "茶".repeat(max / 3 + 1)));
        }
        bad.extend(CONTROLS.map(|text| Bad::invalid("control characters", text)));
        if !self.breaks {
            bad.push(Bad::invalid("control characters", "two lines\nof text"));
        }
        if self.unframed {
            bad.extend([" blank before", "blank behind "].map(|text| Bad::invalid("blanks around", text)));
        }
        if !self.cards {
            bad.extend(CARDS.map(|card| Bad::invalid("card number", card)));
        }
        bad.extend(self.wrong.iter().map(|wrong| Bad::invalid("malformed", *wrong)));
        if let Some((value, told)) = self.unknown {
            bad.push(Bad::new("unknown", value, told));
        }
        bad
    }
}

impl Rule {
    /// Values that break it. `good` is a valid value of the field, for lists that are too long. Page tokens and
    /// positions, which depend on a running shop, have further cases elsewhere.
    pub fn bad(&self, good: &Value) -> Vec<Bad> {
        match self {
            Self::Flag | Self::Message(Presence::Optional) => Vec::new(),
            Self::Message(Presence::Required) => vec![Bad::invalid("missing", Value::Null)],
            Self::RequestId => vec![
                Bad::invalid("too long", "r".repeat(256)),
                Bad::invalid("control characters", "two lines\nof text"),
                Bad::invalid("control characters", "nul\u{0}in a key"),
            ],
            Self::Id(reason) => {
                let mut bad = vec![
                    Bad::invalid("missing", Value::Null),
                    Bad::invalid("empty", ""),
                    Bad::invalid("too long", "0".repeat(10_000)),
                    Bad::new("unknown", NOBODY, Told::NotFound(reason)),
                ];
                bad.extend(NO_IDS.map(|id| Bad::invalid("malformed", id)));
                bad
            }
            Self::Etag => {
                let stale = ["v99", "\"v99\"", "v0", "v18446744073709551615"];
                let malformed = [
                    "nonsense-etag",
                    "12",
                    "v",
                    "v-1",
                    "W/\"v1\"",
                    "\"v1",
                    "v99999999999999999999",
                    "v1\u{0}",
                ];
                let stale = stale.map(|tag| Bad::new("stale etag", tag, Told::Mismatch));
                let malformed = malformed.map(|tag| Bad::invalid("malformed etag", tag));
                stale.into_iter().chain(malformed).collect()
            }
            Self::MinPosition => {
                // The token of a log that there is not, in base64.
                let elsewhere = "MS41Lm5vd2hlcmU";
                ["nonsense-position", "%%%", "\u{0}", ",", elsewhere, "MC41Lm9yZGVy", &"A".repeat(1025)]
                    .map(|position| Bad::invalid("malformed position", position))
                    .into()
            }
            Self::PageSize => vec![
                Bad::invalid("negative", -1),
                Bad::invalid("negative", i32::MIN),
                Bad::new("huge page", i32::MAX, Told::Fine),
            ],
            Self::PageToken(_) => {
                let deep = crate::wire::as_base64(&"[".repeat(1_500));
                [
                    "nonsense-token",
                    "%%%",
                    "bnVsbA",
                    "e30",
                    "WzEsMl0",
                    "W10",
                    &deep,
                    &"A".repeat(2_049),
                    "\u{0}",
                ]
                .map(|token| Bad::invalid("malformed page token", token))
                .into()
            }
            Self::Cursor => ["12", "v", "v-1", "nonsense-cursor", "v99999999999999999999", "v1\u{0}"]
                .map(|cursor| Bad::invalid("malformed cursor", cursor))
                .into(),
            Self::Text(text) => text.bad(),
            Self::Number(least, most, rule) => {
                let mut bad = Vec::new();
                if *least > 0 {
                    bad.push(Bad::invalid("missing", Value::Null));
                }
                for number in [-1, 0, i64::MIN, i64::MAX, least.saturating_sub(1), most.saturating_add(1)] {
                    let kind = match number {
                        0 => "zero",
                        i64::MIN | i64::MAX => "overflow",
                        ..0 => "negative",
                        _ => "out of range",
                    };
                    if !(*least..=*most).contains(&number) {
                        bad.push(Bad::invalid(kind, number.to_string()));
                    }
                }
                bad.extend(rule.map(|(number, told)| Bad::new("beyond a rule", number.to_string(), told)));
                bad
            }
            Self::Nonzero(most, rule) => {
                let mut bad = Self::Number(-most, *most, Some(*rule)).bad(good);
                bad.push(Bad::invalid("zero", "0"));
                bad.push(Bad::invalid("missing", Value::Null));
                bad
            }
            Self::Currency(other) => {
                let wrong = ["", "eur", "EU", "EURO", "E1R", "€UR", "EUR\u{0}", "4242424242424242"];
                let mut bad = wrong.map(|code| Bad::invalid("malformed currency", code)).to_vec();
                bad.push(Bad::invalid("missing", Value::Null));
                bad.extend(other.map(|told| Bad::new("wrong currency", "USD", told)));
                bad
            }
            Self::Enum(refused) => {
                let unknown = NO_VALUES.map(|number| Bad::invalid("unknown enum value", number));
                let refused = refused.iter().map(|number| Bad::invalid("refused enum value", *number));
                unknown.into_iter().chain(refused).collect()
            }
            Self::List(least, most, entries) => list(*least, *most, entries, good),
            Self::Map(most, names, values) => {
                let many = (0..=*most).map(|index| (format!("name-{index}"), json!("value")));
                let mut bad = vec![Bad::invalid("too many", Value::Object(many.collect()))];
                bad.extend(names.bad().into_iter().filter_map(|name| {
                    let text = name.value.as_str()?.to_owned();
                    Some(Bad { value: json!({text: "value"}), ..name })
                }));
                bad.extend(values.bad().into_iter().map(|value| Bad {
                    suffix: "[name]".to_owned(),
                    value: json!({"name": value.value}),
                    ..value
                }));
                bad
            }
            Self::Mask => {
                let wrong = ["", "nonsenseField", "name,nonsense", "variants.price", "name.first", "*"];
                let many = vec!["name"; 65].join(",");
                let wrong = wrong.map(|mask| Bad::invalid("malformed mask", mask));
                let mut bad = wrong.to_vec();
                bad.push(Bad::invalid("too many", many));
                bad.push(Bad::invalid("missing", Value::Null));
                bad
            }
            Self::Time(presence, rules) => {
                let mut bad = NO_TIMES.map(|time| Bad::invalid("malformed time", time)).to_vec();
                if *presence == Presence::Required {
                    bad.push(Bad::invalid("missing", Value::Null));
                }
                bad.extend(rules.iter().map(|(time, told)| Bad::new("beyond a rule", *time, *told)));
                bad
            }
            // Without any member, what is missing is the oneof.
            Self::Member(_, text) => text.bad().into_iter().filter(|bad| !bad.value.is_null()).collect(),
        }
    }
}

fn list(least: usize, most: usize, entries: &Entries, good: &Value) -> Vec<Bad> {
    let first = good.get(0).cloned().unwrap_or(Value::Null);
    // Texts must differ from each other where repetitions are refused.
    let entry = |index: usize| match first.as_str() {
        Some(text) => json!(format!("{text}{index}")),
        None => first.clone(),
    };
    let many: Vec<Value> = (0..=most).map(entry).collect();
    let mut bad = vec![Bad { among_others: true, ..Bad::invalid("too many", many) }];
    if least > 0 {
        bad.push(Bad::invalid("missing", Value::Null));
        bad.push(Bad::invalid("empty", json!([])));
    }
    let (text, suffix) = match entries {
        Entries::Messages => return bad,
        Entries::Texts(text) => (text, "[1]"),
        Entries::TextsAsOne(text) => (text, ""),
    };
    let in_list = text.bad().into_iter().filter(|bad| !bad.value.is_null());
    bad.extend(in_list.map(|bad| Bad { suffix: suffix.to_owned(), value: json!([first, bad.value]), ..bad }));
    bad
}
