//! The protocol's guards, each of which a mutant goes without.

/// What stands between a zombie and the session. A mutant lacks one.
#[derive(Debug, Clone, Copy)]
pub struct Guards {
    /// The lease is held when the session's state is written,
    pub state: bool,
    /// when its operation is ended,
    pub completion: bool,
    /// and when an event is appended.
    pub append: bool,
    /// The lease is asked for right before a destroy.
    pub destroy: bool,
    /// To hold a lease is to hold one that has not run out.
    pub expiry: bool,
    /// A claim raises the fence.
    pub claim_raises: bool,
    /// So does whoever begins an operation in the place of another,
    pub cancel_raises: bool,
    /// and takes the lease from its owner.
    pub cancel_revokes: bool,
    /// The provider refuses a fence below the highest it has seen, and to make what was destroyed under that fence.
    pub provider: bool,
    /// A sandbox is destroyed by `down` only when the record is verified.
    pub record_first: bool,
}

impl Guards {
    pub const ALL: Self = Self {
        state: true,
        completion: true,
        append: true,
        destroy: true,
        expiry: true,
        claim_raises: true,
        cancel_raises: true,
        cancel_revokes: true,
        provider: true,
        record_first: true,
    };
}
