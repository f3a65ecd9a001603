//! One row and its cells. Reading a cell decodes, bounds and cleans it; what it means for the product is decided
//! elsewhere.

use std::collections::BTreeMap;

use csv::ByteRecord;

use super::columns::{Columns, Field};
use super::issue::{Issues, Rule};
use super::limits::{MAX_BODY_BYTES, MAX_LIST_CHARS, MAX_NAME_CHARS};
use super::text;
use crate::domain::text::slug;

pub(super) struct Row<'a> {
    /// The line on which the row begins.
    pub line: u64,
    /// The line on which it ends.
    pub last_line: u64,
    pub record: &'a ByteRecord,
    pub columns: &'a Columns,
}

impl Row<'_> {
    /// Nothing in any column, as spreadsheets leave at the end of a file.
    pub fn is_blank(&self) -> bool {
        self.record.iter().all(|cell| cell.iter().all(u8::is_ascii_whitespace))
    }

    /// The column's name for an issue.
    pub fn name(&self, field: Field) -> Option<&str> {
        Some(self.columns.name(field))
    }

    /// Whether the cell has anything in it, readable or not.
    pub fn says(&self, field: Field) -> bool {
        self.columns.cell(field, self.record).is_some_and(|cell| match std::str::from_utf8(cell) {
            Ok(raw) => !text::is_blank(raw),
            Err(_) => true,
        })
    }

    /// Whether the row has a cell for each column. Blank ones too many do no harm.
    pub fn check_shape(&self, errors: &mut Issues) -> bool {
        let (cells, columns) = (self.record.len(), self.columns.len());
        let says_more = self.record.iter().skip(columns).any(|cell| !cell.trim_ascii().is_empty());
        if cells >= columns && !says_more {
            return true;
        }
        let message = format!(
            "the row has {cells} cells, the header has {columns} columns: is a quote left open, or a comma not quoted?"
        );
        errors.push(self.line, None, Rule::RowShape, message);
        false
    }

    /// The text of a cell on one line; none if it is blank, or refused.
    pub fn text(&self, field: Field, max_chars: usize, errors: &mut Issues) -> Option<String> {
        let raw = self.raw(field, errors)?;
        let text = read_line(raw);
        if text.len() > max_chars && text.chars().count() > max_chars {
            let message = format!("the text is longer than {max_chars} characters");
            errors.push(self.line, self.name(field), Rule::TooLong, message);
            return None;
        }
        (!text.is_empty()).then_some(text)
    }

    /// The text of a cell with its line breaks.
    pub fn body(&self, errors: &mut Issues) -> Option<String> {
        let raw = self.raw(Field::Body, errors)?;
        let exact = text::exact::<String>(raw);
        if exact.as_deref().unwrap_or(raw).len() > MAX_BODY_BYTES {
            let message = format!("the text is longer than {MAX_BODY_BYTES} bytes");
            errors.push(self.line, self.name(Field::Body), Rule::TooLong, message);
            return None;
        }
        if let Some(exact) = exact {
            return Some(text::exact_block(&exact)).filter(|text| !text.is_empty());
        }
        let text = text::block(raw);
        (!text.trim().is_empty()).then_some(text)
    }

    /// Texts in one cell, with `separator` between them; none if it is blank, or refused.
    pub fn list(&self, field: Field, separator: char, errors: &mut Issues) -> Option<Vec<String>> {
        let raw = self.raw(field, errors)?;
        let list: Vec<String> = match text::exact::<Vec<String>>(raw) {
            Some(exact) => exact.iter().map(|entry| text::exact_line(entry)).collect(),
            None => {
                let text = self.text(field, MAX_LIST_CHARS, errors)?;
                text::split(&text, separator).map(str::to_owned).collect()
            }
        };
        let list: Vec<String> = list.into_iter().filter(|entry| !entry.is_empty()).collect();
        (!list.is_empty()).then_some(list)
    }

    /// Whether the cell says exactly what its text is.
    pub fn is_exact(&self, field: Field) -> bool {
        let cell = self.columns.cell(field, self.record).and_then(|cell| std::str::from_utf8(cell).ok());
        cell.is_some_and(|cell| text::exact::<String>(cell).is_some())
    }

    /// The same of a list.
    pub fn is_exact_list(&self, field: Field) -> bool {
        let cell = self.columns.cell(field, self.record).and_then(|cell| std::str::from_utf8(cell).ok());
        cell.is_some_and(|cell| text::exact::<Vec<String>>(cell).is_some())
    }

    /// A cell that holds a JSON object of texts; none if it is blank, or refused.
    pub fn object(&self, field: Field, errors: &mut Issues) -> Option<BTreeMap<String, String>> {
        let raw = self.raw(field, errors).filter(|raw| !text::is_blank(raw))?;
        let object = serde_json::from_str(raw).ok();
        if object.is_none() {
            let message = "the cell holds no JSON object of texts: {\"material\": \"linen\"}";
            errors.push(self.line, self.name(field), Rule::AttributesFormat, message);
        }
        object
    }

    /// The handle, or one made of the title; none if the row has neither.
    pub fn handle(&self) -> Option<String> {
        let lossy = |field| {
            let cell = self.columns.cell(field, self.record)?;
            let start = &cell[..cell.len().min(8 * MAX_NAME_CHARS)];
            let text = read_line(&String::from_utf8_lossy(start));
            (!text.is_empty()).then_some(text)
        };
        lossy(Field::Handle)
            .map(|handle| handle.to_lowercase())
            .or_else(|| lossy(Field::Title).map(|title| slug(&title)))
            .filter(|handle| !handle.is_empty())
    }

    fn raw(&self, field: Field, errors: &mut Issues) -> Option<&str> {
        let cell = self.columns.cell(field, self.record)?;
        if let Ok(text) = std::str::from_utf8(cell) {
            return Some(text);
        }
        let message = "the text is not UTF-8: save the file as \"CSV UTF-8\"";
        errors.push(self.line, self.name(field), Rule::InvalidUtf8, message);
        None
    }
}

fn read_line(raw: &str) -> String {
    text::exact::<String>(raw).map_or_else(|| text::line(raw), |exact| text::exact_line(&exact))
}
