//! The grammar of branch names, which client and server both check: parsed once, valid ever after.

use std::{fmt, str::FromStr};

use utoipa::ToSchema;

/// A branch name that git takes for `refs/heads/<name>`. The pattern says most of git's rules, not all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, ToSchema)]
#[schema(
    value_type = String, examples("main", "feature/x"), min_length = 1, max_length = 255,
    pattern = r"^[^-/.\x00-\x20~^:?*\[\\\x7f-\x9f]([^\x00-\x20~^:?*\[\\\x7f-\x9f]*[^/.\x00-\x20~^:?*\[\\\x7f-\x9f])?$"
)]
pub struct Branch(String);

/// Why a branch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BranchError {
    #[error("branch is required")]
    Missing,
    #[error("invalid branch name")]
    Invalid,
}

const BRANCH_MAX_BYTES: usize = 255;

impl Branch {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name of the reference.
    #[must_use]
    pub fn full_ref(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl FromStr for Branch {
    type Err = BranchError;

    /// The rules of `git check-ref-format --branch`, a bound on the length, and no characters that make a
    /// name look like another on a screen.
    fn from_str(name: &str) -> Result<Self, BranchError> {
        if name.is_empty() {
            return Err(BranchError::Missing);
        }
        let forbidden = |c: char| c.is_control() || is_deceptive(c) || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
        let bad_component = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
        let invalid = name.len() > BRANCH_MAX_BYTES
            || name.starts_with('-')
            || name.ends_with('.')
            || name == "@"
            || name == "HEAD"
            || name.contains("..")
            || name.contains("@{")
            || name.chars().any(forbidden)
            || name.split('/').any(bad_component);
        if invalid { Err(BranchError::Invalid) } else { Ok(Self(name.to_owned())) }
    }
}

/// Invisible marks that turn the direction of text or break its line.
const fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_follow_gits_rules() {
        for good in ["main", "feature/x", "a.b", "a-b", "ünïcode", "refs/heads/main", "v1.0", "@x", "HEAD2"] {
            assert!(good.parse::<Branch>().is_ok(), "{good}");
        }
        assert_eq!("".parse::<Branch>(), Err(BranchError::Missing));
        for bad in [
            "bad branch",
            "-x",
            "a..b",
            "a~b",
            "a^b",
            "a:b",
            "a?b",
            "a*b",
            "a[b",
            "a\\b",
            "a/",
            "a.",
            "a.lock",
            ".a",
            "/a",
            "a//b",
            "@",
            "a@{b",
            "a\nb",
            "a\tb",
            "a\u{7f}b",
            "a\0",
            "HEAD",
            " ",
            "a/.b",
            "a.lock/b",
            "a\u{202e}b",
            "a\u{200b}b",
            "a\u{85}b",
        ] {
            assert_eq!(bad.parse::<Branch>(), Err(BranchError::Invalid), "{bad:?}");
        }
        assert_eq!("x".repeat(256).parse::<Branch>(), Err(BranchError::Invalid));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_the_parser_panic_and_what_it_takes_is_no_option(text in "\\PC*") {
            if let Ok(branch) = text.parse::<Branch>() {
                assert!(!branch.as_str().starts_with('-'));
            }
        }
    }
}
