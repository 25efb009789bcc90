//! Tokens whose signatures this process has verified not long ago. The same bytes with the same key need it once; whether the key still
//! counts, and the claims do, is asked each time.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{keys::Key, token::Token};
use crate::recent::Recent;

const KEPT: usize = 512;
/// Longer ones are verified each time: what is kept here is bounded.
const MAX_BYTES: usize = 2 * 1024;

/// What a token says, and the key that has signed it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) token: Arc<Token>,
    pub(super) key: Arc<Key>,
}

/// By their digests: what they say is kept, the signed text is not.
pub(super) struct Verified(Recent<[u8; 32], Known>);

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified")
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self(Recent::new(KEPT))
    }
}

impl Verified {
    pub(super) fn find(&self, text: &str) -> Option<Known> {
        if text.len() > MAX_BYTES { None } else { self.0.get(&digest(text)) }
    }

    pub(super) fn keep(&self, text: &str, token: Arc<Token>, key: Arc<Key>) {
        if text.len() <= MAX_BYTES {
            self.0.put(digest(text), Known { token, key });
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
