//! What a session serves, shared with others.

use alpine_api::{CreateShare, CreatedShare, SessionId, ShareId, ShareList};
use reqwest::Method;

use super::{Client, ClientError, Patience};
use crate::ui::Ui;

impl Client {
    /// Asked for once: a link whose answer is lost would be good for somebody.
    pub async fn create_share(&self, ui: &Ui, session: SessionId, body: &CreateShare) -> Result<CreatedShare, ClientError> {
        let path = format!("v1/sessions/{session}/shares");
        self.call(ui, Patience::Once, || self.request(Method::POST, &path, None).json(body)).await
    }

    pub async fn shares(&self, ui: &Ui, session: SessionId) -> Result<ShareList, ClientError> {
        let path = format!("v1/sessions/{session}/shares");
        self.call(ui, Patience::Ask, || self.request(Method::GET, &path, None)).await
    }

    /// Asked for once: one that is gone cannot be told from one that never was.
    pub async fn remove_share(&self, ui: &Ui, session: SessionId, share: ShareId) -> Result<(), ClientError> {
        let path = format!("v1/sessions/{session}/shares/{share}");
        self.call(ui, Patience::Once, || self.request(Method::DELETE, &path, None)).await
    }
}
