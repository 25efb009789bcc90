//! Prefixed, time-ordered identifiers: `ses_` or `op_` and the 32 hexadecimal digits of a UUIDv7.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

/// An identifier that is not of its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identifier of this kind is `{prefix}` and 32 hexadecimal digits")]
pub struct IdError {
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
        #[schema(value_type = String, pattern = $pattern, examples($example))]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, ordered by the time it was made.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = IdError { prefix: $prefix };
                let digits = text.strip_prefix($prefix).ok_or_else(|| wrong.clone())?;
                // `Uuid::parse_str` also takes braces, hyphens and upper case: one spelling an id.
                if digits.len() != 32 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(wrong);
                }
                Uuid::parse_str(digits).map(Self).map_err(|_| wrong)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A session.
    SessionId, "ses_", "^ses_[0-9a-f]{32}$", "ses_019ab1c24d3e7f508192a3b4c5d6e7f8"
);
id!(
    /// An operation on a session: one `up`, one `down`.
    OperationId, "op_", "^op_[0-9a-f]{32}$", "op_019ab1c24d3e7f508192a3b4c5d6e7f8"
);
id!(
    /// A share of what a session serves.
    ShareId, "shr_", "^shr_[0-9a-f]{32}$", "shr_019ab1c24d3e7f508192a3b4c5d6e7f8"
);

id!(
    /// A personal access token: its name in lists and logs, not the secret.
    TokenId, "tok_", "^tok_[0-9a-f]{32}$", "tok_019ab1c24d3e7f508192a3b4c5d6e7f8"
);

id!(
    /// A stored credential.
    CredentialId, "cred_", "^cred_[0-9a-f]{32}$", "cred_019ab1c24d3e7f508192a3b4c5d6e7f8"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = SessionId::generate();
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        assert!(id.to_string().starts_with("ses_"));
    }

    #[test]
    fn only_one_spelling_is_an_id() {
        let id = SessionId::generate().to_string();
        for wrong in [id.to_uppercase(), id.replace("ses_", "op_"), format!("{id} "), id[..35].to_owned(), String::new()] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
