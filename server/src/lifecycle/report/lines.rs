//! What a program writes, in lines.

use super::super::redact::Redactor;

/// The most bytes that are kept of one line.
pub const LINE_LIMIT: usize = 4 * 1024;

/// One line without its end, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    bytes: Vec<u8>,
    /// How many more bytes it had.
    beyond: u64,
}

impl Line {
    /// How much was written, its end included.
    pub fn written(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX).saturating_add(self.beyond).saturating_add(1)
    }

    /// How much of it is kept, its end included.
    pub const fn kept(&self) -> usize {
        self.bytes.len() + 1
    }

    pub fn starts_with(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.bytes.starts_with(word.as_bytes()))
    }

    /// Whether there is nothing to be seen of it.
    pub fn is_blank(&self) -> bool {
        anstream::adapter::strip_bytes(&self.bytes)
            .all(|part| part.iter().all(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()))
    }

    /// Fit to be shown: without escape sequences and control characters, what is no UTF-8 replaced, and without what must
    /// not be shown. Never longer than four times the limit of a line.
    pub fn clean(&self, redactor: &Redactor) -> String {
        let plain = anstream::adapter::strip_bytes(&self.bytes).into_vec();
        let text: String = String::from_utf8_lossy(&plain).chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let mut text = redactor.apply(text);
        text.truncate(text.trim_end().len());
        if self.beyond > 0 {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(&left_out(self.beyond));
        }
        text
    }
}

/// In the place of what a log does not have.
pub fn left_out(bytes: u64) -> String {
    format!("[... {bytes} bytes left out ...]")
}

/// Cuts a stream into lines, whichever way it comes in pieces. A line ends with a line feed, a carriage return, or both
/// of them in this order; one of nothing but a carriage return is none.
#[derive(Debug, Default)]
pub struct Lines {
    line: Line,
    after_return: bool,
}

impl Lines {
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else { return self.add(bytes) };
            self.add(&bytes[..end]);
            self.after_return = bytes[end] == b'\r';
            let line = std::mem::take(&mut self.line);
            if !(self.after_return && line.bytes.is_empty()) {
                each(line);
            }
            bytes = &bytes[end + 1..];
        }
    }

    /// The last line, if it has no end.
    pub fn end(&mut self) -> Option<Line> {
        let line = std::mem::take(self).line;
        (!line.bytes.is_empty()).then_some(line)
    }

    fn add(&mut self, bytes: &[u8]) {
        let (kept, beyond) = bytes.split_at(bytes.len().min(LINE_LIMIT - self.line.bytes.len()));
        self.line.bytes.extend_from_slice(kept);
        self.line.beyond += u64::try_from(beyond.len()).unwrap_or(u64::MAX);
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self { bytes: text.into_bytes(), beyond: 0 }
    }
}
