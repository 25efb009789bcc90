//! The file of issuers: TOML, one `[[issuer]]` each. Errors name the file and the field, and never a value: a secret may
//! have been put where it does not belong.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretSlice;
use toml::{Table, Value};

use super::{
    Algorithm,
    issuer::{Issuer, KeySource, LoginHints},
    remote::JwksUrl,
};

const REFRESH_SECONDS: u64 = 300;
const KEEP_REMOVED_KEYS_SECONDS: u64 = 600;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not TOML (line {line})", path.display())]
    NotToml { path: PathBuf, line: usize },
    #[error("{} has no [[issuer]]", path.display())]
    NoIssuer { path: PathBuf },
    #[error("{}: there is no field `{field}` {place}", path.display())]
    Unknown { path: PathBuf, place: String, field: String },
    #[error("{}: issuer {number}: `{field}` {rule}", path.display())]
    Field { path: PathBuf, number: usize, field: &'static str, rule: &'static str },
}

impl Issuer {
    /// The issuers of a file. Paths in it are relative to its directory. Secrets are read; other keys are when they are loaded.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, FileError> {
        let text = fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        parse(&text, path)
    }
}

fn parse(text: &str, path: &Path) -> Result<Vec<Issuer>, FileError> {
    let line = |error: &toml::de::Error| error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    let mut file: Table = text.parse().map_err(|error| FileError::NotToml { path: path.to_owned(), line: line(&error) })?;
    let issuers = file.remove("issuer");
    if let Some(field) = file.keys().next() {
        return Err(FileError::Unknown { path: path.to_owned(), place: "beside [[issuer]]".to_owned(), field: field.clone() });
    }
    match issuers {
        Some(Value::Array(issuers)) if !issuers.is_empty() => {
            issuers.into_iter().enumerate().map(|(at, issuer)| Fields::of(issuer, path, at + 1)?.issuer()).collect()
        }
        _ => Err(FileError::NoIssuer { path: path.to_owned() }),
    }
}

/// The fields of one issuer that are not read yet.
struct Fields<'f> {
    table: Table,
    path: &'f Path,
    /// From 1.
    number: usize,
}

impl<'f> Fields<'f> {
    fn of(issuer: Value, path: &'f Path, number: usize) -> Result<Self, FileError> {
        match issuer {
            Value::Table(table) => Ok(Self { table, path, number }),
            _ => Err(FileError::NoIssuer { path: path.to_owned() }),
        }
    }

    fn issuer(mut self) -> Result<Issuer, FileError> {
        let issuer = self.required("issuer")?;
        let algorithms = self.algorithms()?;
        let audiences = self.texts("audience")?;
        let keys = self.keys(&algorithms)?;
        let login = LoginHints {
            issuer: issuer.clone(),
            device_client_id: self.text("device_client_id")?,
            device_scope: self.text("device_scope")?,
            resource: self.text("resource")?,
        };
        let issuer = Issuer {
            issuer,
            audiences,
            algorithms,
            keys,
            tenant_claim: self.text("tenant_claim")?.unwrap_or_else(|| "tenant".to_owned()),
            roles_claim: self.text("roles_claim")?.unwrap_or_else(|| "roles".to_owned()),
            default_tenant: self.text("default_tenant")?,
            cloudflare: self.flag("cloudflare")?.unwrap_or(false),
            tenants: if self.table.contains_key("tenants") { self.texts("tenants")? } else { Vec::new() },
            operators: self.flag("operators")?.unwrap_or(false),
            login,
        };
        match self.table.keys().next() {
            None => Ok(issuer),
            Some(field) => {
                let place = format!("in issuer {}", self.number);
                Err(FileError::Unknown { path: self.path.to_owned(), place, field: field.clone() })
            }
        }
    }

    fn algorithms(&mut self) -> Result<Vec<Algorithm>, FileError> {
        const FIELD: &str = "algorithms";
        let wrong = self.wrong(FIELD, "is a list of RS256, ES256, EdDSA or, alone, HS256");
        let names = self.texts(FIELD)?;
        let algorithms: Result<Vec<Algorithm>, _> = names.iter().map(|name| name.parse()).collect();
        let Ok(algorithms) = algorithms else { return Err(wrong) };
        let twice = algorithms.iter().enumerate().any(|(at, one)| algorithms[..at].contains(one));
        if twice || (algorithms.contains(&Algorithm::Hs256) && algorithms.len() > 1) { Err(wrong) } else { Ok(algorithms) }
    }

    fn keys(&mut self, algorithms: &[Algorithm]) -> Result<KeySource, FileError> {
        let (file, url) = (self.text("key_file")?, self.text("jwks_url")?);
        match (file, url) {
            (Some(file), None) => self.key_file(&file, algorithms),
            (None, Some(_)) if algorithms.contains(&Algorithm::Hs256) => Err(self.wrong("jwks_url", "does not go with HS256")),
            (None, Some(url)) => {
                let ca_file = self.text("ca_file")?.map(|name| self.beside(&name));
                let seconds = |given: Option<u64>, default| Duration::from_secs(given.unwrap_or(default));
                Ok(KeySource::JwksUrl(JwksUrl {
                    url,
                    allow_http: self.flag("allow_http")?.unwrap_or(false),
                    ca_file,
                    refresh: seconds(self.seconds("refresh_seconds", 1, "is 1 to 86400 seconds", 86_400)?, REFRESH_SECONDS),
                    keep_removed: seconds(
                        self.seconds("keep_removed_keys_seconds", 0, "is 0 to 604800 seconds", 604_800)?,
                        KEEP_REMOVED_KEYS_SECONDS,
                    ),
                }))
            }
            _ => Err(self.wrong("key_file", "or `jwks_url`: one of the two, and not both")),
        }
    }

    fn key_file(&self, name: &str, algorithms: &[Algorithm]) -> Result<KeySource, FileError> {
        const FOR_URLS: [&str; 4] = ["ca_file", "allow_http", "refresh_seconds", "keep_removed_keys_seconds"];
        if let Some(field) = FOR_URLS.into_iter().find(|field| self.table.contains_key(*field)) {
            return Err(self.wrong(field, "goes with `jwks_url` only"));
        }
        KeySource::of_file(&self.beside(name), algorithms).map_err(|source| FileError::Read { path: self.beside(name), source })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    fn wrong(&self, field: &'static str, rule: &'static str) -> FileError {
        FileError::Field { path: self.path.to_owned(), number: self.number, field, rule }
    }

    fn required(&mut self, field: &'static str) -> Result<String, FileError> {
        self.text(field)?.ok_or_else(|| self.wrong(field, "is required"))
    }

    fn text(&mut self, field: &'static str) -> Result<Option<String>, FileError> {
        match self.table.remove(field) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "is a text that is not empty")),
        }
    }

    /// One text, or a list of some.
    fn texts(&mut self, field: &'static str) -> Result<Vec<String>, FileError> {
        let wrong = self.wrong(field, "is required: a text, or a list of texts that are not empty");
        let values = match self.table.remove(field) {
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
            None => Vec::new(),
        };
        let texts: Option<Vec<String>> =
            values.iter().map(|value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)).collect();
        texts.filter(|texts| !texts.is_empty()).ok_or(wrong)
    }

    fn flag(&mut self, field: &'static str) -> Result<Option<bool>, FileError> {
        match self.table.remove(field) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(field, "is true or false")),
        }
    }

    fn seconds(&mut self, field: &'static str, min: u64, rule: &'static str, max: u64) -> Result<Option<u64>, FileError> {
        match self.table.remove(field) {
            None => Ok(None),
            Some(value) => {
                let seconds = value.as_integer().and_then(|seconds| u64::try_from(seconds).ok());
                seconds.filter(|seconds| (min..=max).contains(seconds)).map(Some).ok_or_else(|| self.wrong(field, rule))
            }
        }
    }
}

impl KeySource {
    /// What a key file is: a secret for HS256, else a JWK set or a key in PEM.
    pub fn of_file(path: &Path, algorithms: &[Algorithm]) -> std::io::Result<Self> {
        let bytes = fs::read(path)?;
        Ok(if algorithms.contains(&Algorithm::Hs256) {
            Self::Secret(SecretSlice::from(bytes))
        } else if bytes.trim_ascii_start().starts_with(b"{") {
            Self::JwksFile(path.to_owned())
        } else {
            Self::PemFile(path.to_owned())
        })
    }
}
