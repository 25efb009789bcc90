//! The rules and the configuration as they are shipped, but for the time: a minute of theirs is a second here.

use std::{path::Path, sync::LazyLock};

use regex::{Captures, Regex};

/// By this every duration is divided.
pub const FACTOR: u64 = 60;

/// Where a duration stands: after `for:` and `keep_firing_for:`, in the brackets of a range or of a subquery, after `offset`.
static DURATION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\bfor: |keep_firing_for: |\[|\boffset |:)(\d+)([smhd])\b").unwrap());

/// The same text with every duration divided by [`FACTOR`]. Names that a duration is part of (`increase10m`), thresholds in seconds
/// and everything else stay as they are.
pub fn scaled(text: &str) -> String {
    let shorter = |found: &Captures<'_>| {
        let unit = match &found[3] {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 86_400_000,
        };
        format!("{}{}ms", &found[1], found[2].parse::<u64>().unwrap() * unit / FACTOR)
    };
    DURATION.replace_all(text, shorter).into_owned()
}

/// `deploy/prometheus` in this folder, scaled, with these servers as its targets. Scraped and evaluated is every second instead of every
/// 15: a quarter as often as the scale would have it, so that a busy machine can follow.
pub fn configuration(dir: &Path, ca: &Path, targets: &[String]) {
    let shipped = alpine_tests::bins::root().join("deploy/prometheus");
    std::fs::create_dir_all(dir.join("rules")).unwrap();
    for file in std::fs::read_dir(shipped.join("rules")).unwrap().map(|file| file.unwrap().path()) {
        let text = scaled(&std::fs::read_to_string(&file).unwrap());
        std::fs::write(dir.join("rules").join(file.file_name().unwrap()), text).unwrap();
    }
    let mut text = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
    for (shipped, here) in [
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
        ("/etc/prometheus/ca.crt", ca.display().to_string()),
        ("- targets: [\"127.0.0.1:8443\"]", format!("- targets: {targets:?}\n        labels: {{environment: tests}}")),
    ] {
        assert!(text.contains(shipped), "prometheus.yml has no {shipped}");
        text = text.replace(shipped, &here);
    }
    std::fs::write(dir.join("prometheus.yml"), text).unwrap();
}

#[test]
fn only_durations_are_shortened() {
    assert_eq!(scaled("for: 30m\nkeep_firing_for: 1h"), "for: 30000ms\nkeep_firing_for: 60000ms");
    let query = "a:errors:increase10m > 4 * avg_over_time((sum(increase(b[10m])))[1d:10m] offset 10m) < 21 * 86400";
    let shorter = "a:errors:increase10m > 4 * avg_over_time((sum(increase(b[10000ms])))[1440000ms:10000ms] offset 10000ms) < 21 * 86400";
    assert_eq!(scaled(query), shorter);
}
