//! What the server finds around it and that is no setting: its path, its home, its proxies.

use std::path::PathBuf;

use etcetera::BaseStrategy;

use super::misspelt::misspelt;

/// The few facts of the process's surroundings that are not settings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub path: String,
    pub home: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

/// What programs in sandboxes need to reach the outside as the server does.
const PASSED: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "TZ",
];

impl Surroundings {
    #[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
    #[must_use]
    pub fn read() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            path: variable("PATH").unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            home: variable("HOME").map(PathBuf::from),
            variables: std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect(),
        }
    }

    /// The variables that sandboxes get: those that everything needs, and those that were asked for.
    #[must_use]
    pub fn passed(&self, asked: &[String]) -> Vec<(String, String)> {
        let wanted = |name: &str| PASSED.contains(&name) || asked.iter().any(|asked| asked == name);
        self.variables.iter().filter(|(name, _)| wanted(name)).cloned().collect()
    }

    /// Variables that are almost a setting's, in words.
    #[must_use]
    pub fn misspelt(&self) -> Vec<String> {
        let said = |(given, meant): (String, String)| format!("{given} is no setting; {meant} may be meant");
        misspelt(self.variables.iter().map(|(name, _)| name.as_str())).into_iter().map(said).collect()
    }

    /// Where this user's programs keep data (XDG); none without a home.
    #[must_use]
    pub fn data_home(&self) -> Option<PathBuf> {
        etcetera::base_strategy::Xdg::new().ok().map(|xdg| xdg.data_dir())
    }

    /// Where this user's programs keep their configuration (XDG); none without a home.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        etcetera::base_strategy::Xdg::new().ok().map(|xdg| xdg.config_dir())
    }

    /// The proxy settings that apply to HTTPS.
    #[must_use]
    pub fn proxies(&self) -> Vec<(String, String)> {
        const FOR_HTTPS: &[&str] = &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        if !self.variables.iter().any(|(name, value)| FOR_HTTPS.contains(&name.as_str()) && !value.is_empty()) {
            return Vec::new();
        }
        let proxy = |name: &str| name.to_ascii_lowercase().ends_with("_proxy");
        self.variables.iter().filter(|(name, _)| proxy(name)).cloned().collect()
    }

    /// The bundle of CAs that programs on this machine trust.
    #[must_use]
    pub fn system_ca_bundle(&self) -> Option<PathBuf> {
        let named = self.variables.iter().find(|(name, _)| name == "SSL_CERT_FILE").map(|(_, path)| PathBuf::from(path));
        let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"].map(PathBuf::from);
        named.into_iter().chain(usual).find(|path| path.is_file())
    }
}
