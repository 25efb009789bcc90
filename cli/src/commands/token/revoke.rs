//! `alpine token revoke`: from now on it is nobody's.

use std::ffi::OsString;

use alpine_api::TokenId;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style},
};

/// Revoke a token at once
///
/// By its id, as alpine token list shows it. Doing it twice is doing it once.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's id, tok_…; never the token itself
    #[arg(value_name = "token-id")]
    token: OsString,
}

impl Revoke {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        // What is not of an id's form is not sent: it may be the secret.
        let token_id = self.token.to_str().and_then(|text| text.parse().ok()).ok_or(CliError::NoSuchToken)?;
        client.revoke_token(&context.ui, token_id).await?;
        context.ui.answer(&Revoked { token_id, revoked: true });
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Revoked {
    token_id: TokenId,
    revoked: bool,
}

impl Answer for Revoked {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        format!("Revoked {}.", self.token_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, token};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let revoked = Revoked { token_id: token(1).token_id, revoked: true };
        insta::assert_snapshot!("revoke_json", json_of(&revoked));
        insta::assert_snapshot!("revoke_people", people_of(&revoked));
    }
}
