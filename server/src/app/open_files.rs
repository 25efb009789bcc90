//! How many files this process may open: as many as it is allowed to.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for what is not a connection of a caller: the database, sandboxes, git, logs.
const RESERVE: u64 = 1024;

/// Raise the limit of open files to what the machine allows; how many there may be then.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// As many connections as asked for, or as there are files for.
pub fn connections(asked: u32, files: u64) -> usize {
    let possible = files.saturating_sub(RESERVE).max(files / 2);
    if possible < u64::from(asked) {
        tracing::warn!(asked, files, connections = possible, "fewer connections than asked for: too few files may be open");
    }
    usize::try_from(possible.min(u64::from(asked))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (asked, files, got) in
            [(16_384, 1_048_576, 16_384), (16_384, 20_000, 16_384), (16_384, 4096, 3072), (16_384, 1024, 512), (10, 1024, 10)]
        {
            assert_eq!(connections(asked, files), got);
        }
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        let files = raise();
        assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), files);
    }
}
