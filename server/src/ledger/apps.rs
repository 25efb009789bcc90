//! What a session's own host needs: who may use it, codes and cookies, and the password of what is served there.

use alpine_api::{AuditOutcome, SessionId, SessionState};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::{
    Error, Lease, Ledger, TenantLedger,
    audit::Deed,
    scope::in_tenant,
    seal::{PassKind, Place},
    views,
};
use crate::domain::{
    Fault,
    access_token::NoRandomness,
    apps::{App, AppsDomain},
    pass::{CODE_GOOD_FOR, Pass},
    principal::{Access, Caller, TenantId},
};

const OPEN: &str = "session.open";
const PASSWORD_BYTES: usize = 32;
/// Between the id of the key and what is sealed with it.
const DOT: char = '.';
/// Longer ones are nobody's.
const PASS_MAX_BYTES: usize = 2048;

/// The password of a session's server.
#[derive(Debug)]
pub struct Made {
    pub password: SecretString,
    /// It was made now, and nothing has been begun with it.
    pub new: bool,
}

/// A code for a browser.
#[derive(Debug)]
pub struct Code {
    pub text: SecretString,
    /// The session's host, as a URL.
    pub at: String,
    pub expires_at: DateTime<Utc>,
}

/// A session as far as its host is concerned.
struct Row {
    owner: String,
    state: String,
    opencode_url: Option<String>,
    /// It is shared with who asks, by name.
    shared: bool,
}

/// A session as one who may or may not be its owner finds it; `$3` is the principal and `$4` the port.
macro_rules! row {
    ($($argument:expr),*) => {
        in_tenant!(
            query_as(
                Row,
                r#"SELECT principal_id AS "owner!", state AS "state!", opencode_url, EXISTS (
                       SELECT FROM session_shares WHERE session_shares.tenant_id = tenant.id AND session_shares.session_id = $2
                           AND $3 = ANY (principal_ids) AND port IS NOT DISTINCT FROM $4 AND session_shares.expires_at > now()) AS "shared!"
                   FROM sessions WHERE tenant_id = tenant.id AND session_id = $2"#
            ),
            $($argument),*
        )
    };
}

impl Ledger {
    /// The password of the session's server: made now, or before by whoever began this phase. Under the lease: `Fenced`, and there is none.
    #[tracing::instrument(level = "debug", name = "ledger.make_session_password", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "make_session_password"))]
    pub async fn make_session_password(&self, lease: &Lease) -> Result<Made, Error> {
        let mut random = [0; PASSWORD_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| NoRandomness)?;
        let place = Place::Session { tenant: &lease.tenant, session: lease.session };
        let sealed = self.sealer.seal(place, &SecretString::from(BASE64_URL_SAFE_NO_PAD.encode(random)))?;
        let row = sqlx::query!(
            r#"WITH ok AS MATERIALIZED (
                SELECT WHERE hold_lease($1, $2, $3, $4)
            ), made AS (
                INSERT INTO session_passwords (tenant_id, session_id, key_id, sealed) SELECT $1, $2, $5, $6 FROM ok
                ON CONFLICT DO NOTHING RETURNING key_id, sealed
            )
            SELECT key_id AS "key_id!", sealed AS "sealed!", true AS "new!" FROM made
            UNION ALL SELECT p.key_id, p.sealed, false FROM session_passwords p, ok WHERE p.tenant_id = $1 AND p.session_id = $2"#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            self.sealer.key_id(),
            sealed
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Error::Fenced)?;
        Ok(Made { password: self.sealer.open(place, &row.key_id, &row.sealed)?, new: row.new })
    }

    /// The same for who hands it to that server; `None`: it has none.
    #[tracing::instrument(level = "debug", name = "ledger.session_password", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "session_password"))]
    pub async fn session_password(&self, tenant: &TenantId, session: SessionId) -> Result<Option<SecretString>, Error> {
        let row = sqlx::query!(
            "SELECT key_id, sealed FROM session_passwords WHERE tenant_id = $1 AND session_id = $2",
            tenant.as_str(),
            session.uuid()
        )
        .fetch_optional(self.statements())
        .await?;
        let place = Place::Session { tenant, session };
        row.map(|row| Ok(self.sealer.open(place, &row.key_id, &row.sealed)?)).transpose()
    }

    /// Text for a browser, which nobody else can make and which opens for this host and kind alone.
    pub fn seal_pass(&self, app: App, kind: PassKind, pass: &Pass) -> Result<SecretString, Error> {
        let text = serde_json::to_string(pass).map_err(|error| Error::Corrupt(error.to_string()))?;
        let sealed = self.sealer.seal(Place::Pass { app, kind }, &SecretString::from(text))?;
        Ok(SecretString::from(format!("{}{DOT}{}", self.sealer.key_id(), BASE64_URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// Forget codes that nobody came for; how many it was.
    #[tracing::instrument(level = "debug", name = "ledger.sweep_codes", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "sweep_codes"))]
    pub async fn sweep_codes(&self) -> Result<u64, Error> {
        let swept = sqlx::query!("DELETE FROM session_codes WHERE expires_at < now()").execute(self.statements()).await?;
        Ok(swept.rows_affected())
    }

    /// What such a text says, unless it is not one of ours. Asks nobody.
    #[must_use]
    pub fn open_pass(&self, app: App, kind: PassKind, text: &str) -> Option<Pass> {
        let (key_id, sealed) = text.split_once(DOT).filter(|_| text.len() <= PASS_MAX_BYTES)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let opened = self.sealer.open(Place::Pass { app, kind }, key_id, &sealed).ok()?;
        serde_json::from_str(opened.expose_secret()).ok()
    }
}

impl TenantLedger {
    /// May this caller use the session's host now? A use of a role is on record unless it was when the pass was made.
    #[tracing::instrument(level = "debug", name = "ledger.enter_session", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "enter_session"))]
    pub async fn enter_session(&self, by: &Caller, app: App, on_record: bool) -> Result<(), Error> {
        let id = app.session;
        let row = row!(self.tenant.as_str(), id.uuid(), by.id.as_str(), port(app))
            .fetch_optional(self.statements())
            .await?
            .ok_or(Fault::SessionNotFound)?;
        let known = match by.access(&row.owner) {
            Access::Own => true,
            Access::AsAdmin => on_record,
            Access::Denied => row.shared,
        };
        // A page that somebody had open asks on after its share is over: that is no intruder.
        if !known && on_record {
            return Err(Fault::NotOwner.into());
        }
        if !known {
            self.judge(by, OPEN, id, &row.owner).await?;
        }
        Ok(ready(&row.state)?)
    }

    /// A code that lets a browser use the session's host in the caller's name.
    #[tracing::instrument(level = "debug", name = "ledger.make_code", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "make_code"))]
    pub async fn make_code(&self, by: &Caller, app: App, apps: Option<&AppsDomain>, now: DateTime<Utc>) -> Result<Code, Error> {
        let id = app.session;
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let row = row!(self.tenant.as_str(), id.uuid(), by.id.as_str(), port(app))
            .fetch_optional(&mut *tx)
            .await?
            .ok_or(Fault::SessionNotFound)?;
        // It began with a host of its own; the domain may have changed since.
        let host = apps.filter(|_| row.opencode_url.as_deref().and_then(App::at) == Some(App::of(id)));
        let verdict = match by.access(&row.owner) {
            Access::Denied if !row.shared => Err(Fault::NotOwner),
            _ => ready(&row.state).and(host.map(|apps| apps.url(app)).ok_or(Fault::NoApp)),
        };
        // Before the audit log, as everybody who locks both.
        if verdict.is_ok() {
            self.use_now(&mut tx, id).await?;
        }
        if by.access(&row.owner) != Access::Own {
            let outcome = if verdict.is_ok() { AuditOutcome::Done } else { AuditOutcome::Denied };
            let target = id.to_string();
            let port = app.port.map(|_| what(app));
            let deed = Deed { session: Some(id), reason: port.as_deref(), ..Deed::on(OPEN, outcome, &target).of(Some(&row.owner)) };
            self.record_deed(&mut *tx, by, &deed).await?;
        }
        let at = match verdict {
            Ok(at) => at,
            Err(fault) => {
                tx.commit().await?;
                return Err(fault.into());
            }
        };
        let until = now + CODE_GOOD_FOR;
        let text = self.ledger.seal_pass(app, PassKind::Code, &Pass::of(by, until))?;
        let digest = digest(text.expose_secret());
        sqlx::query!(
            "INSERT INTO session_codes (tenant_id, code_sha256, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))",
            self.tenant.as_str(),
            digest.as_slice(),
            CODE_GOOD_FOR.as_secs_f64()
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Code { text, at, expires_at: until })
    }

    /// Whether this was the one time that the code is good for.
    #[tracing::instrument(level = "debug", name = "ledger.spend_code", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "spend_code"))]
    pub async fn spend_code(&self, text: &str) -> Result<bool, Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        // The transaction's first statement says for whom it is.
        sqlx::query_scalar!(r#"SELECT tenant.id AS "id!" FROM set_config('alpine.tenant', $1, true) AS tenant (id)"#, self.tenant.as_str())
            .fetch_one(&mut *tx)
            .await?;
        let digest = digest(text);
        let spent = sqlx::query!(
            "DELETE FROM session_codes WHERE tenant_id = $1 AND code_sha256 = $2 AND expires_at > now()",
            self.tenant.as_str(),
            digest.as_slice()
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(spent.rows_affected() == 1)
    }
}

/// As the audit log has it.
pub(super) fn what(app: App) -> String {
    app.port.map_or_else(|| "its page".to_owned(), |port| format!("port {port}"))
}

pub(super) fn ready(state: &str) -> Result<(), Fault> {
    // A state of a later version is none that is ready.
    match views::read::<SessionState>(state) {
        Ok(SessionState::Ready) => Ok(()),
        Ok(state) => Err(Fault::NotOpen { state }),
        Err(_) => Err(Fault::NoApp),
    }
}

/// As a column has it.
pub(super) fn port(app: App) -> Option<i32> {
    app.port.map(|port| i32::from(port.get()))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
