//! Logging in and out.

use std::time::Duration;

use alpine_tests::{team::Team, until};

use crate::modes::{Modes, settings};

/// Everybody who asks for a code signs in; until there were so many.
async fn approve(team: &Team, people: usize) {
    let limit = Duration::from_secs(30);
    for n in 0..people {
        let code = until("a code is asked for", limit, || async { team.oidc.codes().await.get(n).cloned() }).await;
        team.oidc.approve(&code, "ann", "acme", &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shows_a_code_and_a_logout_gives_it_back() {
    let team = Team::start().await;
    let people = Modes::each(|n| team.another(&format!("person{n}")));
    settings()
        .bind_async(async {
            let words = ["login", "--no-browser"];
            let (login, ()) = tokio::join!(people.run(&words), approve(&team, 4));
            login.snapshot("login");
            people.run(&["whoami"]).await.snapshot("whoami_logged_in");
            people.run(&["logout"]).await.snapshot("logout");
            people.run(&["logout"]).await.snapshot("logout_again");
            people.run(&["whoami"]).await.snapshot("whoami_logged_out");
        })
        .await;
}
