//! The rolling program, short: docs/upgrades.md has the long runs.

use alpine_tests::rolling::{Options, Report, run};
use clap::Parser;

async fn rolls(more: &[&str]) -> Report {
    let options = Options::parse_from([&["rolling", "--restarts", "1", "--callers", "1"], more].concat());
    let report = Box::pin(run(&options)).await.unwrap();
    eprintln!("{report}");
    assert!(report.is_clean(), "{:#?}", report.violations);
    assert!(report.operations.values().sum::<u64>() >= 10 && report.streams() >= 5, "there was hardly any traffic");
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_three_replicas_are_replaced_one_after_the_other() {
    rolls(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_a_next_version_migrates_works_beside_the_present_one_and_replaces_it() {
    rolls(&["--replicas", "2", "--next"]).await;
}
