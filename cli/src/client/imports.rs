//! Moving in.

use std::time::Duration;

use alpine_api::{ImportSession, Imported};
use reqwest::Method;

use super::{Client, ClientError, Patience};
use crate::ui::Ui;

/// For a record to be verified.
const WAIT: Duration = Duration::from_secs(20);

impl Client {
    /// The same session again is no second one: it may be tried as often as need be.
    pub async fn import(&self, ui: &Ui, body: &ImportSession) -> Result<Imported, ClientError> {
        self.call(ui, Patience::Import, || self.request(Method::POST, "v1/imports/sessions", Some(WAIT)).json(body)).await
    }
}
