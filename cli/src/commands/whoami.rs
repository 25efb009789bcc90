//! `alpine whoami`: whom the server takes you for.

use chrono::{DateTime, Utc};
use clap::Args;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, fields, time},
    wire::WhoAmI,
};

/// Show whom the server takes you for
#[derive(Debug, Args)]
pub struct Whoami {}

impl Whoami {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let who = context.client()?.whoami(&context.ui).await?;
        context.ui.answer(&who);
        Ok(())
    }
}

impl Answer for WhoAmI {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let words = |words: &[String]| (!words.is_empty()).then(|| words.join(", "));
        let rows = [
            ("principal", Some(self.principal_id.clone())),
            ("tenant", Some(self.tenant.clone())),
            ("roles", words(&self.roles)),
            ("scopes", words(&self.scopes)),
            ("proved by", Some(self.method.replace('_', " ")).filter(|method| !method.is_empty())),
            ("until", self.expires_at.map(time)),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let who = WhoAmI {
            tenant: "acme".to_owned(),
            principal_id: "ann".to_owned(),
            roles: vec!["alpine.admin".to_owned()],
            scopes: vec!["sessions:read".to_owned(), "admin".to_owned()],
            method: "access_token".to_owned(),
            expires_at: Some(at("2026-11-22T13:00:00Z")),
        };
        insta::assert_snapshot!("whoami_json", json_of(&who));
        insta::assert_snapshot!("whoami_people", people_of(&who));
        let bare: WhoAmI = serde_json::from_str(r#"{"tenant": "acme", "principal_id": "ann"}"#).unwrap();
        insta::assert_snapshot!("whoami_people_bare", people_of(&bare));
    }
}
