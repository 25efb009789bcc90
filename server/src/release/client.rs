//! Asking, and nothing else: every request is a GET.

use std::{path::Path, time::Duration};

use alpine_api::is_loopback;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::ReleaseError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(20);

/// For these addresses.
pub fn client<'a>(ca_file: Option<&Path>, mut to: impl Iterator<Item = &'a Url>) -> Result<reqwest::Client, ReleaseError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("alpine-server/", env!("CARGO_PKG_VERSION")))
        // The token is for the address that was named, and for no other.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT);
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|source| ReleaseError::Read { path: path.to_owned(), source })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(ReleaseError::Authority { path: path.to_owned() });
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if to.all(is_loopback) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(ReleaseError::Client)
}

/// An answer that may be one of many kinds.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// A problem's cause, or the status alone: a body may be a page of whoever stands between.
    pub fn why(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_str(&self.text).ok();
        let cause = problem.as_ref().and_then(|problem| problem["cause"].as_str());
        cause.map_or_else(|| format!("answered {}", self.status), |cause| format!("answered {}: {cause}", self.status))
    }
}

/// The answer, or why there is none.
pub async fn get(client: &reqwest::Client, base: &Url, path: &str, token: Option<&SecretString>) -> Result<Answer, String> {
    let mut request = client.get(join(base, path));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose_secret());
    }
    let asked = async {
        let answer = request.send().await?;
        Ok::<_, reqwest::Error>(Answer { status: answer.status().as_u16(), text: answer.text().await? })
    };
    asked.await.map_err(|error| chain(&error.without_url()))
}

/// Below the base, which may have a path of its own.
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query);
    url
}

/// Without what may be secret in it.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail where a URL cannot have them anyway.
    let (_, _) = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether a token may be sent there.
pub fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    if text.contains("UnknownIssuer") {
        text.push_str("; --ca-file names an authority to trust");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_keeps_its_path_and_tells_no_password() {
        let base = Url::parse("https://u:s3cret@h:1/prometheus/").unwrap();
        assert_eq!(join(&base, "/api/v1/rules?type=alert").as_str(), "https://u:s3cret@h:1/prometheus/api/v1/rules?type=alert");
        assert_eq!(shown(&base), "https://h:1/prometheus");
        assert_eq!(join(&Url::parse("https://h").unwrap(), "/livez").as_str(), "https://h/livez");
    }

    #[test]
    fn a_token_goes_over_tls_or_stays_on_the_machine() {
        let private = |url: &str| is_private(&Url::parse(url).unwrap());
        assert!(private("https://h") && private("http://127.0.0.1:1") && private("http://[::1]") && private("http://localhost"));
        assert!(!private("http://h") && !private("http://10.0.0.1"));
    }

    #[test]
    fn a_page_of_somebody_else_is_not_repeated() {
        let answer = |text: &str| Answer { status: 503, text: text.to_owned() }.why();
        assert_eq!(answer("<html>secret</html>"), "answered 503");
        assert_eq!(answer(r#"{"cause":"the server is shutting down"}"#), "answered 503: the server is shutting down");
    }
}
