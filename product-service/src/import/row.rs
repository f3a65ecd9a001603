//! One row and its cells. Reading a cell decodes, bounds and cleans it; what it means for the product is decided
//! elsewhere.

use csv::ByteRecord;

use super::columns::{Columns, Field};
use super::issue::{Issues, Rule};
use super::limits::{MAX_BODY_BYTES, MAX_NAME_CHARS};
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
        let text = text::line(raw);
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
        if raw.len() > MAX_BODY_BYTES {
            let message = format!("the text is longer than {MAX_BODY_BYTES} bytes");
            errors.push(self.line, self.name(Field::Body), Rule::TooLong, message);
            return None;
        }
        let text = text::block(raw);
        (!text.trim().is_empty()).then_some(text)
    }

    /// The handle, or one made of the title; none if the row has neither.
    pub fn handle(&self) -> Option<String> {
        let lossy = |field| {
            let cell = self.columns.cell(field, self.record)?;
            let start = &cell[..cell.len().min(8 * MAX_NAME_CHARS)];
            let text = text::line(&String::from_utf8_lossy(start));
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
