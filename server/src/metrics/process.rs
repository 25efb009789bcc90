//! What the kernel knows of this process, read when it is asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use procfs::{ProcResult, WithCurrentSystemInfo, process::Process as Kernel};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::declare::Declarations;

pub(super) struct Process {
    resident: Gauge,
    open_fds: Gauge,
    cpu: Counter<f64, AtomicU64>,
}

impl Process {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        // Once: what the kernel says of it moves with the clock, and may be hidden.
        let started = d.gauge("alpine_process_start_time_seconds", "Unix time at which this process began");
        started.set(now());
        Self {
            resident: d.gauge("alpine_process_resident_memory_bytes", "Memory of this process that is in RAM"),
            open_fds: d.gauge("alpine_process_open_fds", "File descriptors of this process that are open"),
            cpu: d.single("alpine_process_cpu_seconds_total", "CPU time of this process, of user and system", Counter::default()),
        }
    }

    /// Where the kernel tells nothing (another system than Linux), all of it stays 0.
    pub(super) fn read(&self) {
        if let Err(error) = self.try_read() {
            tracing::debug!(%error, "the process cannot be looked at");
        }
    }

    fn try_read(&self) -> ProcResult<()> {
        let process = Kernel::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second();
        let whole = |figure: u64| i64::try_from(figure).unwrap_or(i64::MAX);
        self.resident.set(whole(stat.rss_bytes().get()));
        self.open_fds.set(i64::try_from(process.fd_count()?).unwrap_or(i64::MAX));
        let seconds = (stat.utime + stat.stime) as f64 / ticks as f64;
        // A counter is only ever added to; what the kernel counts is set, in the encoding that the counter has.
        self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "what is asked for is when this process itself began")]
fn now() -> i64 {
    Utc::now().timestamp()
}
