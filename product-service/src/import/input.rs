//! The bytes under the CSV reader: line breaks made alike, so that lines can be counted, and a bound on what one row
//! may take. It knows nothing of rows or columns.

use std::io::{self, Read};

/// Turns CR LF and CR into LF, ends the input with a line break, and refuses to read more than its allowance.
pub(super) struct BoundedLines<R> {
    inner: R,
    allowance: usize,
    exhausted: bool,
    bytes_read: u64,
    after_cr: bool,
    last: u8,
}

impl<R: Read> BoundedLines<R> {
    pub fn new(inner: R) -> Self {
        // As if after a line break: an empty input stays empty.
        BoundedLines { inner, allowance: 0, exhausted: false, bytes_read: 0, after_cr: false, last: b'\n' }
    }

    /// Sets how many bytes may be read until the next call.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// Whether reading failed because the allowance was used up.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Bytes taken from the source so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Rewrites the line breaks of `chunk` in place and returns its new length.
    fn rewrite(&mut self, chunk: &mut [u8]) -> usize {
        if !self.after_cr && !chunk.contains(&b'\r') {
            return chunk.len();
        }
        let mut kept = 0;
        for at in 0..chunk.len() {
            let byte = chunk[at];
            let second_half = byte == b'\n' && self.after_cr;
            self.after_cr = byte == b'\r';
            if !second_half {
                chunk[kept] = if byte == b'\r' { b'\n' } else { byte };
                kept += 1;
            }
        }
        kept
    }
}

impl<R: Read> Read for BoundedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.allowance == 0 {
                self.exhausted = true;
                return Err(io::Error::other("a row is longer than allowed"));
            }
            let wanted = buffer.len().min(self.allowance);
            let read = match self.inner.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                if self.last == b'\n' {
                    return Ok(0);
                }
                self.last = b'\n';
                buffer[0] = b'\n';
                return Ok(1);
            }
            self.bytes_read += read as u64;
            self.allowance -= read;
            let kept = self.rewrite(&mut buffer[..read]);
            if kept > 0 {
                self.last = buffer[kept - 1];
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every line break is split over two reads.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn all(input: impl Read) -> String {
        let mut lines = BoundedLines::new(input);
        lines.allow(1_000);
        let mut text = String::new();
        lines.read_to_string(&mut text).expect("within the allowance");
        text
    }

    #[test]
    fn every_kind_of_line_break_becomes_one_line_feed() {
        for (input, output) in [
            ("", ""),
            ("a", "a\n"),
            ("a\n", "a\n"),
            ("a\r\nb\rc\n\r\nd\r", "a\nb\nc\n\nd\n"),
            ("\r\r\n\n", "\n\n\n"),
        ] {
            assert_eq!(all(input.as_bytes()), output);
            assert_eq!(all(Trickle(input.as_bytes())), output);
        }
    }

    #[test]
    fn reading_stops_at_the_allowance() {
        let mut lines = BoundedLines::new(io::repeat(b'"'));
        lines.allow(10);
        let mut taken = Vec::new();
        assert!(lines.read_to_end(&mut taken).is_err());
        assert_eq!((taken.len(), lines.is_exhausted()), (10, true));
    }
}
