//! `alpine login`: a token for this server from its issuer, with a code that a person enters in a browser.

use alpine_api::{LoginHint, ProtectedResource};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context, browser,
    client::{Client, ClientError},
    clock,
    config::{IssuerChoice, Settings},
    error::CliError,
    login::{Device, Issuer, LoginError, Place, Tokens},
    token::Identity,
    ui::{Answer, Style, clean, elapsed, fields, time},
    wire::WhoAmI,
};

const SCOPE: &str = "openid offline_access";

/// Log in at the server's issuer
///
/// Shows an address and a code: open the address in any browser, on any machine, and enter the code. The login is kept
/// in the system's keyring where there is one, else in a file that only you can read, and renewed as needed.
#[derive(Debug, Args)]
pub struct Login {
    /// The issuer to log in at [default: the one that the server names]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The client that alpine is at the issuer [default: the one that the server names]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Do not try to open a browser
    #[arg(long)]
    no_browser: bool,
}

impl Login {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let settings = context.settings()?;
        if settings.credential.key_file.is_some() {
            return Err(LoginError::SignsItself.into());
        }
        let store = settings.logins.as_ref().ok_or(LoginError::NoDirectory)?;
        let hint = self.hint(context, &settings).await?;
        let issuer = Issuer::new(&hint.issuer, settings.ca_file.as_deref(), clock::now)?;
        let (about, device) = issuer.begin(&hint, &settings.server).await?;
        // A server names the issuer itself: whoever logs in sees to whom the token will go.
        context.ui.info(&format!("Logging in to {} at {}.", settings.server, clean(&hint.issuer)));
        self.show(context, &device).await;
        let tokens = issuer.finish(&about, &device).await?;
        let who = who(context, &settings, &tokens).await?;
        let (expires_at, renewable) = (tokens.expires_at, tokens.refresh_token.is_some());
        let place = store.lock().await?.save(&settings.profile, about, tokens).await.map_err(LoginError::from)?;
        if settings.credential.token.is_some() {
            context.ui.warn("ALPINE_TOKEN, or a token in the profile, is used before this login");
        }
        let (tenant, principal_id) = who.map(|who| (who.tenant, who.principal_id)).unzip();
        context.ui.answer(&LoggedIn {
            profile: settings.profile,
            server: settings.server.to_string(),
            issuer: hint.issuer,
            tenant,
            principal_id,
            credential_store: place,
            expires_at,
            renewable,
        });
        Ok(())
    }

    /// Flag over profile over what the server says, which is not asked when nothing is left to know.
    async fn hint(&self, context: &Context, settings: &Settings) -> Result<LoginHint, CliError> {
        let IssuerChoice { issuer, client_id, scope, resource } = settings.issuer.clone();
        let (issuer, client_id) = (self.issuer.clone().or(issuer), self.client_id.clone().or(client_id));
        let named = match (&issuer, &client_id) {
            (Some(issuer), Some(client_id)) => {
                LoginHint { issuer: issuer.clone(), client_id: client_id.clone(), scope: SCOPE.to_owned(), resource: None }
            }
            _ => named_by(context, settings, issuer.as_deref()).await?,
        };
        Ok(LoginHint {
            issuer: named.issuer,
            client_id: client_id.unwrap_or(named.client_id),
            scope: scope.unwrap_or(named.scope),
            resource: resource.or(named.resource),
        })
    }

    async fn show(&self, context: &Context, device: &Device) {
        let style = context.ui.error_style();
        context.ui.ask(&format!(
            "Open {} and enter the code {} (within {}).",
            clean(device.address()),
            style.bold(&clean(device.user_code())),
            elapsed(TimeDelta::from_std(device.expires_in()).unwrap_or(TimeDelta::MAX))
        ));
        let wanted = !self.no_browser && context.ui.stderr_is_terminal() && context.env.get("CI").is_none();
        if wanted {
            browser::open(device.address_with_code().unwrap_or(device.address()), &context.env).await;
        }
    }
}

/// The one issuer that the server names, or the one of them that was asked for.
async fn named_by(context: &Context, settings: &Settings, issuer: Option<&str>) -> Result<LoginHint, CliError> {
    let client = Client::new(settings, Identity::nobody(clock::now))?;
    let said = match client.protected_resource(&context.ui).await {
        Ok(said) => said,
        // A server from before there were logins.
        Err(error) if error.is_not_found() => return Err(LoginError::NoIssuer.into()),
        Err(error) => return Err(error.into()),
    };
    Ok(choose(said, issuer)?)
}

fn choose(said: ProtectedResource, issuer: Option<&str>) -> Result<LoginHint, LoginError> {
    let mut known = said.alpine_login;
    let names = |known: &[LoginHint]| known.iter().map(|hint| hint.issuer.clone()).collect();
    match issuer {
        _ if known.is_empty() => Err(LoginError::NoIssuer),
        Some(issuer) => match known.iter().position(|hint| hint.issuer == issuer) {
            Some(at) => Ok(known.swap_remove(at)),
            None => Err(LoginError::OtherIssuer { known: names(&known) }),
        },
        None if known.len() > 1 => Err(LoginError::Several { known: names(&known) }),
        None => Ok(known.swap_remove(0)),
    }
}

/// Whom the server takes the new token for. A login that it does not accept is none, and is not kept.
async fn who(context: &Context, settings: &Settings, tokens: &Tokens) -> Result<Option<WhoAmI>, ClientError> {
    let client = Client::new(settings, Identity::fixed(tokens.access_token.clone(), "this login", clock::now))?;
    match client.whoami(&context.ui).await {
        Ok(who) => Ok(Some(who)),
        Err(error) if error.is_unauthorized() => Err(error),
        Err(error) => {
            context.ui.warn(&format!("the login is kept, but the server could not be asked about it: {error}"));
            Ok(None)
        }
    }
}

#[derive(Debug, Serialize)]
struct LoggedIn {
    profile: String,
    server: String,
    issuer: String,
    tenant: Option<String>,
    principal_id: Option<String>,
    credential_store: Place,
    /// Of the first access token; a login that is renewable lasts longer.
    expires_at: Option<DateTime<Utc>>,
    renewable: bool,
}

impl Answer for LoggedIn {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let kept = match self.credential_store {
            Place::Keyring => "in the system's keyring",
            Place::File => "in credentials.toml, readable by you alone",
        };
        let rows = [
            ("logged in", self.principal_id.clone().or_else(|| Some("yes".to_owned()))),
            ("tenant", self.tenant.clone()),
            ("server", Some(format!("{} (profile {})", self.server, self.profile))),
            ("issuer", Some(self.issuer.clone())),
            ("kept", Some(kept.to_owned())),
            ("until", self.expires_at.filter(|_| !self.renewable).map(time)),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of};

    fn hint(issuer: &str) -> LoginHint {
        LoginHint { issuer: issuer.to_owned(), client_id: "alpine-cli".to_owned(), scope: SCOPE.to_owned(), resource: None }
    }

    fn server(issuers: &[&str]) -> ProtectedResource {
        ProtectedResource {
            resource: "https://alpine.test".to_owned(),
            authorization_servers: Vec::new(),
            bearer_methods_supported: Vec::new(),
            alpine_login: issuers.iter().map(|issuer| hint(issuer)).collect(),
        }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let logged_in = LoggedIn {
            profile: "team".to_owned(),
            server: "https://alpine.test/".to_owned(),
            issuer: "https://issuer.test".to_owned(),
            tenant: Some("acme".to_owned()),
            principal_id: Some("ann".to_owned()),
            credential_store: Place::File,
            expires_at: Some(at("2026-11-22T13:00:00Z")),
            renewable: true,
        };
        insta::assert_snapshot!("login_json", json_of(&logged_in));
        insta::assert_snapshot!("login_people", people_of(&logged_in));
        let brief = LoggedIn { tenant: None, principal_id: None, credential_store: Place::Keyring, renewable: false, ..logged_in };
        insta::assert_snapshot!("login_people_not_renewable", people_of(&brief));
    }

    #[test]
    fn the_only_issuer_is_taken_and_of_several_the_one_that_is_named() {
        assert_eq!(choose(server(&["https://a"]), None).unwrap(), hint("https://a"));
        assert_eq!(choose(server(&["https://a", "https://b"]), Some("https://b")).unwrap(), hint("https://b"));
        assert!(matches!(choose(server(&["https://a", "https://b"]), None), Err(LoginError::Several { .. })));
        assert!(matches!(choose(server(&["https://a"]), Some("https://b")), Err(LoginError::OtherIssuer { .. })));
        assert!(matches!(choose(server(&[]), None), Err(LoginError::NoIssuer)));
    }
}
