//! The run's own log: to standard error and to a file.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

#[derive(Debug, Clone)]
pub struct Log(Arc<(Instant, Mutex<File>)>);

impl Log {
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(Arc::new((Instant::now(), Mutex::new(File::create(path)?)))))
    }

    pub fn line(&self, text: &str) {
        let (begun, file) = &*self.0;
        let line = format!("[{:8.3}] {text}", begun.elapsed().as_secs_f64());
        eprintln!("{line}");
        // A full disk must not end the run: the line was shown.
        let _ = writeln!(file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }
}
