//! The engine's git against real remotes.

mod ssh;
mod sshd;
