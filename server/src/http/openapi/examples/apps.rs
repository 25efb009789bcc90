//! Of what sessions serve.

use alpine_api as api;
use serde_json::Value;

use super::{at, session_id, uuid, value};

fn opened() -> api::OpenedSession {
    let url = format!("https://ses-{}.apps.example.com/.alpine/open?code=0123456789abcdef.AAAA", uuid(1).simple());
    let app_url = format!("https://ses-{}.apps.example.com/", uuid(1).simple());
    api::OpenedSession { session_id: session_id(), url, app_url, expires_at: at(69) }
}

fn share() -> api::Share {
    api::Share {
        share_id: api::ShareId::from_uuid(uuid(4)),
        session_id: session_id(),
        port: Some(3000),
        with: vec!["bob".into()],
        public: false,
        created_by: "ann".into(),
        created_at: at(60),
        expires_at: at(86_460),
    }
}

fn created_share() -> api::CreatedShare {
    let url = format!("https://ses-{}--3000.apps.example.com/.alpine/open?share=0123456789abcdef.AAAA", uuid(1).simple());
    api::CreatedShare { url, about: share() }
}

pub(super) fn answered(operation_id: &str) -> Option<Value> {
    match operation_id {
        "openSession" => Some(value(opened())),
        "createShare" => Some(value(created_share())),
        "listShares" => Some(value(api::ShareList { shares: vec![share()] })),
        _ => None,
    }
}
