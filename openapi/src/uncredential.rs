//! Credentials of URLs, taken out of what was written by a program that let them in.

use serde_json::Value;

use crate::{RepoUrl, RepoUrlError};

/// The text without the credentials, queries and fragments of the URLs in it; `None` if there are none. Where it is not
/// certain how far a credential goes, more is removed rather than less.
#[must_use]
pub fn without_credentials(text: &str) -> Option<String> {
    let mut kept = String::with_capacity(text.len());
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        kept.push_str(before);
        let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let (url, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let bare = match url.rsplit_once('@') {
            // Whom an SSH remote is reached as is no secret.
            Some((user, host)) if before.ends_with("ssh://") && is_word(user) && !host.contains(['?', '#']) => {
                kept.push_str(url);
                rest = behind;
                continue;
            }
            Some((_, host)) => host,
            None => url,
        };
        let authority = bare.split(['/', '?', '#']).next().unwrap_or_default();
        let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) || port.ends_with(']');
        if authority.rsplit_once(':').is_some_and(|(_, port)| !is_port(port)) {
            // `user:pass word@host`: the credential goes on behind the space, nobody knows how far.
            kept.push_str("[removed]");
            return Some(kept);
        }
        let bare = bare.split(['?', '#']).next().unwrap_or_default();
        changed |= bare.len() != url.len();
        kept.push_str(bare);
        rest = behind;
    }
    kept.push_str(rest);
    changed.then_some(kept)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Remove them from every text of a JSON value, names of members included; whether there were any.
pub fn json_without_credentials(value: &mut Value) -> bool {
    match value {
        Value::String(text) => without_credentials(text).map(|clean| *text = clean).is_some(),
        Value::Array(items) => items.iter_mut().fold(false, |found, item| json_without_credentials(item) | found),
        Value::Object(members) => {
            let named = members.keys().any(|name| without_credentials(name).is_some());
            if named {
                *members =
                    std::mem::take(members).into_iter().map(|(name, value)| (without_credentials(&name).unwrap_or(name), value)).collect();
            }
            members.values_mut().fold(named, |found, item| json_without_credentials(item) | found)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Why a repository URL with more in it than a repository was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UncleanUrl {
    /// What stands before an `@` may be half a credential.
    #[error("it is not certain where a credential in it ends; give it without user info, query and fragment")]
    Uncertain,
    #[error(transparent)]
    Url(#[from] RepoUrlError),
}

/// The URL without its credentials, query and fragment, and whether it had any. Where it is not certain what is one, it is
/// refused.
pub fn repo_url_without_credentials(given: &str) -> Result<(RepoUrl, bool), UncleanUrl> {
    let Some((scheme, rest)) = given.split_once("://") else { return Ok((given.parse()?, false)) };
    let (user, host_and_path) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(['/', '?', '#', '\\', '%', '@'])) {
        return Err(UncleanUrl::Uncertain);
    }
    let bare = host_and_path.split(['?', '#']).next().unwrap_or_default();
    // Whom an SSH remote is reached as belongs to it; a password does not.
    let kept = match (scheme, user.and_then(|user| user.split(':').next())) {
        ("ssh", Some(name)) if !name.is_empty() => format!("{scheme}://{name}@{bare}"),
        _ => format!("{scheme}://{bare}"),
    };
    let changed = kept != given;
    Ok((kept.parse()?, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_of_a_url_is_left_however_it_is_written() {
        for (text, expected) in [
            ("https://user:s3cret@host/org/repo.git", "https://host/org/repo.git"),
            ("fatal: 'https://s3cret@host/x': not found", "fatal: 'https://host/x': not found"),
            ("https://user:%ZZs3cret@host/x", "https://host/x"),
            ("https://user:s3/cret@host/x", "https://host/x"),
            ("https://user:s3?cret@host/x", "https://host/x"),
            ("https://user:s3#cret@host/x", "https://host/x"),
            ("https://user:s3@cret@host/x", "https://host/x"),
            ("https://host/x?token=s3cret and more", "https://host/x and more"),
            ("https://host/x#s3cret", "https://host/x"),
            ("a https://a:s3cret@h/1,https://b:s3cret@i/2 b", "a https://i/2 b"),
            ("https://a:s3cret@h/1 https://b:s3cret@i/2", "https://h/1 https://i/2"),
            ("ssh://git:s3cret@host/x", "ssh://host/x"),
            ("https://user:s3 cret@host/x", "https://[removed]"),
        ] {
            assert_eq!(without_credentials(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_holds_none_is_left_as_it_is() {
        for text in ["", "exit 1", "https://host:8443/x", "https://[::1]:80/x", "git@host:org/repo", "ssh://git@host/x", "a:b@c", "://"] {
            assert_eq!(without_credentials(text), None, "{text}");
        }
    }

    #[test]
    fn every_text_of_a_value_is_looked_at() {
        let mut value = serde_json::json!({"a": [{"b": "https://u:s3cret@h/x"}], "https://u:s3cret@h": 1, "c": "https://h/x"});
        assert!(json_without_credentials(&mut value));
        assert_eq!(value, serde_json::json!({"a": [{"b": "https://h/x"}], "https://h": 1, "c": "https://h/x"}));
        assert!(!json_without_credentials(&mut value));
    }

    #[test]
    fn credentials_go_and_the_repository_stays() {
        for (given, url, changed) in [
            ("https://host/org/repo.git", "https://host/org/repo.git", false),
            ("git@host:org/repo.git", "git@host:org/repo.git", false),
            ("ssh://git@host/repo", "ssh://git@host/repo", false),
            ("https://user:s3cret@host/repo", "https://host/repo", true),
            ("https://s3cret@host:8443/repo", "https://host:8443/repo", true),
            ("https://host/repo?token=s3cret", "https://host/repo", true),
            ("https://host/repo#s3cret", "https://host/repo", true),
            ("ssh://git:s3cret@host/repo", "ssh://git@host/repo", true),
        ] {
            let (found, was) = repo_url_without_credentials(given).unwrap();
            assert_eq!((found.as_str(), was), (url, changed), "{given}");
        }
    }

    #[test]
    fn what_may_be_half_a_credential_is_refused_and_not_repeated() {
        for given in [
            "https://user:%ZZs3cret@host/x",
            "https://user:s3cret/y@host/x",
            "https://user:12/s3cret@host/x",
            "https://user:s3cret?y@host/x",
            "https://user:s3cret#y@host/x",
            "https://user:s3cret@y@host/x",
            "https://host/x@s3cret",
            "https://user:s3cret",
            "user:s3cret@host:x",
            "http://user:s3cret@host/x",
            "file:///s3cret",
            "",
        ] {
            let why = repo_url_without_credentials(given).unwrap_err().to_string();
            assert!(!why.contains("s3cret"), "{given}: {why}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_cleaned_is_clean(text in "[a-z:/@?# '%.]{0,40}") {
            let clean = without_credentials(&text).unwrap_or(text);
            proptest::prop_assert_eq!(without_credentials(&clean).filter(|_| !clean.contains("[removed]")), None, "{}", clean);
        }
    }
}
