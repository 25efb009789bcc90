//! What is cloned. URL and branch are part of the contract; the commit is the server's own finding.

use std::{fmt, str::FromStr};

pub use alpine_api::{Branch, RepoUrl, Scheme};

/// A full commit id: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSha(String);

/// Not a commit id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a commit id")]
pub struct NotACommit;

impl CommitSha {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommitSha {
    type Err = NotACommit;

    fn from_str(text: &str) -> Result<Self, NotACommit> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) { Ok(Self(text.to_owned())) } else { Err(NotACommit) }
    }
}

impl fmt::Display for CommitSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_forty_or_sixty_four_hex_digits() {
        assert!("a".repeat(40).parse::<CommitSha>().is_ok());
        assert!("0".repeat(64).parse::<CommitSha>().is_ok());
        for bad in ["", "main", &"a".repeat(39), &"A".repeat(40), &"-".repeat(40)] {
            assert_eq!(bad.parse::<CommitSha>(), Err(NotACommit));
        }
    }
}
