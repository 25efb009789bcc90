//! The machine that the figures are of.

use std::process::Command;

/// A line: cores, memory, kernel, PostgreSQL.
pub fn described() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory =
        read("/proc/meminfo").lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse::<u64>().ok());
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()));
    let kernel = read("/proc/sys/kernel/osrelease");
    let postgres = Command::new(crate::postgres::binary("postgres")).arg("--version").output();
    let postgres = postgres.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!(
        "{cores} cores ({}), {} GB, Linux {}, {postgres}",
        model.unwrap_or_else(|| "unknown".to_owned()),
        memory.unwrap_or_default() / 1024 / 1024,
        kernel.trim()
    )
}
