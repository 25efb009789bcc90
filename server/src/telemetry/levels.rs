//! Which lines of the log are wanted: said at the start, and changed by a file while the server runs.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};
use tracing_subscriber::{EnvFilter, Registry, filter::LevelFilter, reload};

use super::TelemetryError;

/// A mounted file changes without a signal.
const LOOK: Duration = Duration::from_secs(2);
const MAX_BYTES: u64 = 64 * 1024;

pub(super) fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    // To the library a word that is no level is a module with all its lines: `inof` would be silence about everything else.
    let stray = |part: &&str| !part.contains(['=', '[', ':']) && part.parse::<LevelFilter>().is_err();
    if let Some(part) = filter.split(',').map(str::trim).filter(|part| !part.is_empty()).find(stray) {
        return Err(TelemetryError::NoLevel { filter: filter.to_owned(), part: part.to_owned() });
    }
    EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

/// What the server begins with.
pub(super) fn first(filter: &str, file: Option<&Path>) -> Result<EnvFilter, TelemetryError> {
    let own = parse(filter)?;
    match file.map(read).transpose()? {
        Some(text) if !text.is_empty() => parse(&text),
        _ => Ok(own),
    }
}

/// The directives of a file: of each line, comments aside.
fn read(path: &Path) -> Result<String, TelemetryError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|source| TelemetryError::FilterFile { path: path.to_owned(), source })?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().trim_matches(','));
    Ok(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(","))
}

/// The filter of a running server, and the file that changes it.
#[derive(Debug)]
pub(super) struct Levels {
    file: PathBuf,
    /// What counts where the file says nothing.
    filter: String,
    handle: reload::Handle<EnvFilter, Registry>,
    /// What was last read or why it was not, so that each is said once.
    last: Result<String, String>,
}

impl Levels {
    pub fn new(file: PathBuf, filter: String, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let last = read(&file).map_err(|error| error.to_string());
        Self { file, filter, handle, last }
    }

    /// Look now and then, and at once when SIGHUP comes.
    pub async fn watch(mut self) {
        let mut asked = match signal(SignalKind::hangup()) {
            Ok(asked) => Some(asked),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP is not listened to");
                None
            }
        };
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = async {
                match &mut asked {
                    Some(asked) => asked.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => {}
                _ = asked => {}
            }
            self.look();
        }
    }

    /// Take on what the file says if it says something new; what is not understood changes nothing.
    pub fn look(&mut self) {
        let read = read(&self.file);
        let said = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if said == self.last {
            return;
        }
        self.last = said;
        match read.and_then(|text| self.apply(&text)) {
            Ok(filter) => tracing::info!(filter, "the log's levels are changed"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the log's levels stay as they are"),
        }
    }

    fn apply(&self, text: &str) -> Result<String, TelemetryError> {
        let filter = if text.is_empty() { &self.filter } else { text };
        self.handle.reload(parse(filter)?)?;
        Ok(filter.to_owned())
    }
}

/// Without a file SIGHUP does nothing.
pub(super) async fn nothing_to_read() {
    if let Ok(mut asked) = signal(SignalKind::hangup()) {
        while asked.recv().await.is_some() {
            tracing::info!("SIGHUP: there is no ALPINE_LOG_FILTER_FILE to read again");
        }
    }
}
