//! What is asked of an issuer: its discovery document, a device's code and tokens, new tokens, an end.

use std::{fmt, future::Future, path::Path, pin::Pin, time::Duration};

use alpine_api::{LoginHint, is_loopback};
use chrono::TimeDelta;
use oauth2::{
    AsyncHttpClient, ClientId, DeviceAuthorizationUrl, DeviceCodeErrorResponseType, ErrorResponseType, HttpRequest, HttpResponse,
    RefreshToken, RequestTokenError, RevocationUrl, Scope, StandardDeviceAuthorizationResponse, StandardErrorResponse, TokenResponse,
    TokenUrl,
    basic::{BasicClient, BasicErrorResponseType, BasicTokenResponse, BasicTokenType},
};
use serde::Deserialize;
use url::Url;

use super::{About, LoginError, Tokens};
use crate::{
    clock::Now,
    http::{self, Tls},
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Logging out does not wait for an issuer that is away.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST_ANSWER: usize = 256 * 1024;
/// However often an issuer says it may be asked.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// An issuer, and the connection to it.
#[derive(Debug)]
pub struct Issuer {
    wire: Wire,
    now: Now,
}

/// What a person enters where.
#[derive(Debug)]
pub struct Device {
    details: StandardDeviceAuthorizationResponse,
}

#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
    token_endpoint: Url,
    device_authorization_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
}

impl Device {
    pub fn user_code(&self) -> &str {
        self.details.user_code().secret()
    }

    pub fn address(&self) -> &str {
        self.details.verification_uri().as_str()
    }

    /// The address that has the code in it already.
    pub fn address_with_code(&self) -> Option<&str> {
        self.details.verification_uri_complete().map(|uri| uri.secret().as_str())
    }

    pub fn expires_in(&self) -> Duration {
        self.details.expires_in()
    }
}

impl Issuer {
    pub fn new(issuer: &str, ca_file: Option<&Path>, now: Now) -> Result<Self, LoginError> {
        let address = Url::parse(issuer).ok().filter(is_safe).ok_or(LoginError::Address)?;
        Ok(Self { wire: Wire { client: http::client(ca_file, &address)? }, now })
    }

    /// Discovers the issuer (OpenID Connect Discovery 1.0) and begins a login of this device.
    pub async fn begin(&self, hint: &LoginHint, server: &Url) -> Result<(About, Device), LoginError> {
        let found = self.discover(&hint.issuer).await?;
        let device = found.device_authorization_endpoint.ok_or_else(|| LoginError::NoDevices { issuer: hint.issuer.clone() })?;
        let about = About {
            server: server.clone(),
            issuer: found.issuer,
            client_id: hint.client_id.clone(),
            token_endpoint: found.token_endpoint,
            revocation_endpoint: found.revocation_endpoint,
            resource: hint.resource.clone(),
        };
        let client = BasicClient::new(ClientId::new(hint.client_id.clone()))
            .set_device_authorization_url(DeviceAuthorizationUrl::from_url(device.clone()));
        let mut request = client.exchange_device_code();
        request = request.add_scopes(hint.scope.split_whitespace().map(|scope| Scope::new(scope.to_owned())));
        if let Some(resource) = &hint.resource {
            request = request.add_extra_param("resource", resource);
        }
        let details = request.request_async(&self.wire).await.map_err(|error| refusal(error, &device))?;
        Ok((about, Device { details }))
    }

    async fn discover(&self, issuer: &str) -> Result<Discovery, LoginError> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let at = Url::parse(&address).map_err(|_| LoginError::Address)?;
        let request = oauth2::http::Request::get(at.as_str()).header("accept", "application/json").body(Vec::new());
        let answer = self.wire.call(request.map_err(|_| LoginError::Address)?).await.map_err(|error| error.at(&at))?;
        if !answer.status().is_success() {
            return Err(LoginError::Unreadable { at });
        }
        let found: Discovery = serde_json::from_slice(answer.body()).map_err(|_| LoginError::Unreadable { at: at.clone() })?;
        if found.issuer != issuer {
            return Err(LoginError::Imposter { asked: issuer.to_owned() });
        }
        let endpoints = [Some(&found.token_endpoint), found.device_authorization_endpoint.as_ref(), found.revocation_endpoint.as_ref()];
        if endpoints.into_iter().flatten().all(is_safe) { Ok(found) } else { Err(LoginError::Unreadable { at }) }
    }

    /// Asks, as often as it is told to (RFC 8628, 3.5), until the person has decided or the code is over.
    pub async fn finish(&self, about: &About, device: &Device) -> Result<Tokens, LoginError> {
        let client =
            BasicClient::new(ClientId::new(about.client_id.clone())).set_token_uri(TokenUrl::from_url(about.token_endpoint.clone()));
        let mut request = client.exchange_device_access_token(&device.details).set_time_fn(self.now);
        if let Some(resource) = &about.resource {
            request = request.add_extra_param("resource", resource);
        }
        let pause = |interval: Duration| tokio::time::sleep(interval.max(LEAST_INTERVAL));
        match request.request_async(&self.wire, pause, None).await {
            Ok(answer) => self.tokens(&answer, None, about),
            Err(RequestTokenError::ServerResponse(error)) => Err(match error.error() {
                DeviceCodeErrorResponseType::AccessDenied => LoginError::Denied,
                DeviceCodeErrorResponseType::ExpiredToken => LoginError::Expired,
                other => LoginError::Refused { code: code(other.as_ref()) },
            }),
            Err(error) => Err(refusal(error, &about.token_endpoint)),
        }
    }

    /// New tokens for an old refresh token; the issuer may have replaced that too.
    pub async fn refresh(&self, about: &About, refresh_token: &str) -> Result<Tokens, LoginError> {
        let client =
            BasicClient::new(ClientId::new(about.client_id.clone())).set_token_uri(TokenUrl::from_url(about.token_endpoint.clone()));
        let token = RefreshToken::new(refresh_token.to_owned());
        let mut request = client.exchange_refresh_token(&token);
        if let Some(resource) = &about.resource {
            request = request.add_extra_param("resource", resource);
        }
        match request.request_async(&self.wire).await {
            Ok(answer) => self.tokens(&answer, Some(refresh_token), about),
            Err(RequestTokenError::ServerResponse(error)) if *error.error() == BasicErrorResponseType::InvalidGrant => {
                Err(LoginError::Over)
            }
            Err(error) => Err(refusal(error, &about.token_endpoint)),
        }
    }

    /// Gives the token back (RFC 7009), if the issuer takes it; whether it did.
    pub async fn revoke(&self, about: &About, tokens: &Tokens) -> bool {
        let (Some(endpoint), Some(token)) = (&about.revocation_endpoint, &tokens.refresh_token) else { return false };
        let client = BasicClient::new(ClientId::new(about.client_id.clone())).set_revocation_url(RevocationUrl::from_url(endpoint.clone()));
        let Ok(request) = client.revoke_token(RefreshToken::new(token.clone()).into()) else { return false };
        let asked = tokio::time::timeout(REVOKE_TIMEOUT, request.request_async(&self.wire)).await;
        matches!(asked, Ok(Ok(())))
    }

    fn tokens(&self, answer: &BasicTokenResponse, old_refresh: Option<&str>, about: &About) -> Result<Tokens, LoginError> {
        if *answer.token_type() != BasicTokenType::Bearer {
            return Err(LoginError::Unreadable { at: about.token_endpoint.clone() });
        }
        let life = answer.expires_in().and_then(|life| TimeDelta::from_std(life).ok());
        Ok(Tokens {
            access_token: answer.access_token().secret().clone(),
            refresh_token: answer.refresh_token().map(|token| token.secret().clone()).or_else(|| old_refresh.map(str::to_owned)),
            expires_at: life.and_then(|life| (self.now)().checked_add_signed(life)),
        })
    }
}

/// Tokens go nowhere in the clear.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(url)
}

fn refusal<T: ErrorResponseType + fmt::Display + 'static>(
    error: RequestTokenError<WireError, StandardErrorResponse<T>>,
    at: &Url,
) -> LoginError {
    match error {
        RequestTokenError::ServerResponse(error) => LoginError::Refused { code: code(&error.error().to_string()) },
        RequestTokenError::Request(error) => error.at(at),
        // What could not be read may hold a token: it is not told.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => LoginError::Unreadable { at: at.clone() },
    }
}

/// An OAuth error code, if it looks like one.
fn code(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(word) { text.to_owned() } else { "no known reason".to_owned() }
}

#[derive(Debug)]
struct Wire {
    client: reqwest::Client,
}

/// A request without a usable answer: it may be tried again.
#[derive(Debug, thiserror::Error)]
enum WireError {
    #[error("no answer")]
    Send(#[from] reqwest::Error),
    #[error("the answer is too large")]
    TooLarge,
    #[error("not of HTTP's form")]
    Form(#[from] oauth2::http::Error),
    #[error("the issuer answered {0}")]
    Status(u16),
}

impl WireError {
    fn at(&self, at: &Url) -> LoginError {
        let untrusted = matches!(self, Self::Send(error) if http::tls_fault(error) == Some(Tls::Distrust));
        LoginError::Unreachable { at: at.clone(), untrusted }
    }
}

impl Wire {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, WireError> {
        let (parts, body) = request.into_parts();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).timeout(REQUEST_TIMEOUT).body(body);
        let mut answer = request.send().await?;
        // An issuer, or a proxy before it, that is out of order: no word on the request itself.
        if answer.status().is_server_error() {
            return Err(WireError::Status(answer.status().as_u16()));
        }
        let mut response = oauth2::http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(WireError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Wire {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
