//! Core files: none. One would hold whatever its process knew, keys and tokens, and lie where others find it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of this process and of all that it starts. One byte and not none: a limit of zero does not keep the kernel from handing a
/// core to a program (`kernel.core_pattern` with a `|`), a limit of one does, and no core file is that small.
pub fn forbid() {
    let most = Some(getrlimit(Resource::Core).maximum.map_or(1, |maximum| maximum.min(1)));
    // One's own limits may always be lowered.
    let _ = setrlimit(Resource::Core, Rlimit { current: most, maximum: most });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_core_file_and_no_program_that_gets_one() {
        forbid();
        let limit = getrlimit(Resource::Core);
        assert!(limit.current.is_some_and(|bytes| bytes <= 1) && limit.maximum == limit.current, "{limit:?}");
    }
}
