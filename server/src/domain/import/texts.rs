//! Texts of another ledger: credentials of URLs in them are removed, and so is what steers a terminal.

use alpine_api::without_credentials;

/// The longest text that is kept of a reason or a cause, in characters.
const LONGEST: usize = 1000;

/// Texts as they are taken in, and how many of them held a credential.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) cleaned: usize,
}

impl Texts {
    /// A reason or a cause, in one line.
    pub(super) fn take(&mut self, text: &str) -> String {
        let clean = without_credentials(text);
        self.cleaned += usize::from(clean.is_some());
        let text = clean.as_deref().unwrap_or(text);
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}
