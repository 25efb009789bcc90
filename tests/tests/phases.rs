//! Phases may run again: twice in a row, after an error before anything was done, and after a reply that
//! was lost when all was done.

use alpine_server::domain::operation::Phase;
use alpine_tests::{
    World,
    drive::{CHEAP_SERVE, Drive},
};

/// In this order within three tries: fails at once; fails when it is done; is done twice.
fn rules(phase: Phase) -> String {
    format!("{phase}.before=error#1,{phase}.after=error#1,{phase}.after=again#1")
}

async fn goes_well_all_the_same(drive: Drive) {
    let of_it: Vec<Phase> = std::iter::successors(Some(drive.first()), |phase| phase.next()).collect();
    let of_it = if drive == Drive::FailingUp { vec![Phase::Cleanup] } else { of_it };
    let rules = of_it.iter().map(|phase| rules(*phase)).collect::<Vec<_>>().join(",");
    let world = World::with_faults(&rules, &[("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)]).await;
    let session = drive.begin(&world).await;
    drive.assert_rests(&rules, &world, &session).await;
    for phase in of_it {
        for (place, act) in [("before", "error"), ("after", "error"), ("after", "again")] {
            let (point, act) = (format!("point=\"{phase}.{place}\""), format!("act=\"{act}\""));
            let injected = world.server.metric("alpine_injected_faults_total", &[&point, &act]).await;
            assert_eq!(injected, Some(1.0), "{point} {act}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_phase_of_an_up_is_idempotent() {
    goes_well_all_the_same(Drive::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clean_up_of_a_failed_up_is_idempotent() {
    goes_well_all_the_same(Drive::FailingUp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_phase_of_a_down_is_idempotent() {
    goes_well_all_the_same(Drive::Down).await;
}

#[test]
fn these_tests_meet_every_phase() {
    let from = |drive: Drive| std::iter::successors(Some(drive.first()), |phase| phase.next());
    for phase in Phase::ALL {
        let drive = Drive::to(*phase);
        assert!(*phase == Phase::Cleanup || from(drive).any(|met| met == *phase), "{phase}");
    }
}
