//! A person's login at an issuer: begun with a code in a browser, kept, refreshed and given back.

mod error;
mod file;
mod issuer;
mod keyring;
mod saved;
mod store;

pub use error::LoginError;
pub use file::replace;
pub use issuer::{Device, Issuer};
pub use saved::Saved;
pub use store::{About, Keep, Place, Store, StoreError, Tokens};
