//! A repository URL of a ledger that took and stored credentials in it.

use super::BadImport;
use crate::domain::repo::RepoUrl;

const PLACE: &str = "session.repo_url";

/// The URL without its credentials, and whether it had any. Where it is not certain what is one, it is refused: what
/// stands before an `@` may be half of it.
pub(super) fn without_credentials(given: &str) -> Result<(RepoUrl, bool), BadImport> {
    let bad = |why: &str| Err(BadImport::at(PLACE, why));
    let Some((scheme, rest)) = given.split_once("://") else { return Ok((parse(given)?, false)) };
    let (user, host_and_path) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if user.is_some_and(|user| user.contains(['/', '?', '#', '\\', '%', '@'])) {
        return bad("it is not certain where a credential in it ends; give it without user info, query and fragment");
    }
    let bare = host_and_path.split(['?', '#']).next().unwrap_or_default();
    // Whom an SSH remote is reached as belongs to it; a password does not.
    let kept = match (scheme, user.and_then(|user| user.split(':').next())) {
        ("ssh", Some(name)) if !name.is_empty() => format!("{scheme}://{name}@{bare}"),
        _ => format!("{scheme}://{bare}"),
    };
    let changed = kept != given;
    Ok((parse(&kept)?, changed))
}

fn parse(url: &str) -> Result<RepoUrl, BadImport> {
    url.parse().map_err(|why: alpine_api::RepoUrlError| BadImport::at(PLACE, why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (found, was) = without_credentials(given).unwrap();
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
            let why = without_credentials(given).unwrap_err().to_string();
            assert!(why.starts_with(PLACE) && !why.contains("s3cret"), "{given}: {why}");
        }
    }
}
