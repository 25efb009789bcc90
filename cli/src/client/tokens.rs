//! Personal access tokens.

use alpine_api::{CreateToken, TokenId};
use reqwest::Method;

use super::{Client, ClientError, ListQuery, Patience};
use crate::{
    ui::Ui,
    wire::{CreatedToken, TokenPage},
};

impl Client {
    /// Not tried again: where only the answer was lost there would be two.
    pub async fn create_token(&self, ui: &Ui, body: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.call(ui, Patience::Once, || self.request(Method::POST, "v1/tokens", None).json(body)).await
    }

    pub async fn tokens(&self, ui: &Ui, query: &ListQuery) -> Result<TokenPage, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/tokens", None).query(query)).await
    }

    pub async fn revoke_token(&self, ui: &Ui, id: TokenId) -> Result<(), ClientError> {
        let path = format!("v1/tokens/{id}");
        self.call(ui, Patience::Ask, || self.request(Method::DELETE, &path, None)).await
    }
}
