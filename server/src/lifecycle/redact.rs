//! Text that a remote or a tool wrote, without the token that it may have echoed.

use std::collections::{BTreeSet, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// Parts of a token that are shorter help nobody.
const PART: usize = 8;

/// What must not be shown: the token, the pair of user and token that git sends in base64, either in hexadecimal or
/// base64, and any part of these that is long enough to help: whoever echoes a token may also have cut it.
#[derive(Default)]
pub struct Redactor {
    parts: HashSet<Vec<char>>,
    lengths: BTreeSet<usize>,
}

// By hand: the parts are the secret's.
impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("parts", &self.parts.len()).finish()
    }
}

impl Redactor {
    pub fn new(token: Option<&SecretString>) -> Self {
        let Some(token) = token.map(ExposeSecret::expose_secret).filter(|token| !token.is_empty()) else { return Self::default() };
        let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
        let base64 = |text: &str| STANDARD_NO_PAD.encode(text);
        let forms = [base64(&format!("x-access-token:{token}")), base64(token), hex.to_uppercase(), hex, token.to_owned()];
        let forms = forms.map(|form| form.chars().collect::<Vec<char>>());
        let parts: HashSet<_> = forms.iter().flat_map(|form| form.windows(PART.min(form.len()))).map(<[char]>::to_vec).collect();
        let lengths = parts.iter().map(Vec::len).collect();
        Self { parts, lengths }
    }

    /// The text, with `***` in the place of what must not be shown. No control character may be in it, or one could
    /// stand in the middle of a token.
    pub fn apply(&self, text: String) -> String {
        if self.parts.is_empty() {
            return text;
        }
        let text: Vec<char> = text.chars().collect();
        let mut covered = vec![false; text.len()];
        for length in &self.lengths {
            for (at, _) in text.windows(*length).enumerate().filter(|(_, window)| self.parts.contains(*window)) {
                covered[at..at + length].fill(true);
            }
        }
        let runs = text.iter().zip(&covered).collect::<Vec<_>>();
        let runs = runs.chunk_by(|(_, a), (_, b)| a == b);
        runs.map(|run| if *run[0].1 { "***".to_owned() } else { run.iter().map(|(c, _)| **c).collect() }).collect()
    }
}

/// Fit to be shown as a cause: the last lines, without control characters and without the token, should it have been
/// echoed as it is or as git sent it.
#[must_use]
pub fn printable(text: &str, token: Option<&SecretString>) -> String {
    const LIMIT: usize = 600;
    let text = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r')).collect();
    let text = Redactor::new(token).apply(text);
    let lines: Vec<String> = text.split(['\n', '\r']).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect();
    let joined = lines[lines.len().saturating_sub(6)..].join("; ");
    let skip = joined.chars().count().saturating_sub(LIMIT);
    joined.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_the_end_without_control_characters_or_the_token() {
        let token: SecretString = "t0ken".into();
        assert_eq!(printable("a\n\x1b[31mfatal: t0ken\r\n", Some(&token)), "a; [31mfatal: ***");
        let sent = "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4= dDBrZW4= 74306b656e t0k\u{1}en";
        assert_eq!(printable(sent, Some(&token)), "Basic ***= ***= *** ***");
        let long: SecretString = "0123456789abcdefABCDEF".into();
        assert_eq!(printable("see 0123456789?abcdefAB,CDEF 0123456", Some(&long)), "see ***?***,CDEF 0123456");
        assert!(printable(&"x".repeat(5000), None).len() <= 600);
    }
}
