//! Stored credentials.

use alpine_api::{CredentialId, SetCredential};
use reqwest::Method;

use super::{Client, ClientError, Patience};
use crate::{
    ui::Ui,
    wire::{Credential, CredentialList},
};

impl Client {
    /// Stores a credential; doing it twice is doing it once.
    pub async fn set_credential(&self, ui: &Ui, body: &SetCredential) -> Result<Credential, ClientError> {
        self.call(ui, Patience::Begin, || self.request(Method::PUT, "v1/credentials", None).json(body)).await
    }

    pub async fn credentials(&self, ui: &Ui) -> Result<CredentialList, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/credentials", None)).await
    }

    pub async fn remove_credential(&self, ui: &Ui, id: CredentialId) -> Result<(), ClientError> {
        let path = format!("v1/credentials/{id}");
        self.call(ui, Patience::Begin, || self.request(Method::DELETE, &path, None)).await
    }
}
