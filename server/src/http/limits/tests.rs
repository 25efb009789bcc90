use axum::http::{Method, Request};

use super::*;

fn limits(settings: LimitSettings) -> Limits {
    Limits::new(&settings, Arc::new(Metrics::new()))
}

fn small() -> LimitSettings {
    LimitSettings { places: Places::of(7, 1), queue: Duration::from_millis(20), ..LimitSettings::default() }
}

fn parts(method: Method) -> Parts {
    Request::builder().method(method).body(()).unwrap().into_parts().0
}

/// A read that is let in, and what it holds.
async fn read(limits: &Limits, tenant: &str, principal: &str) -> Result<Ticket, ApiError> {
    let mut parts = parts(Method::GET);
    limits.admit(&mut parts, tenant, principal).await?;
    Ok(Ticket::of(&mut parts.extensions))
}

#[test]
fn no_class_can_hold_every_connection_for_single_statements() {
    for statements in 2..=500 {
        let places = Places::of(statements, 6);
        let of = |class| places.of_class(class);
        assert!(of(Class::Up) >= 1 && of(Class::Read) >= 1 && of(Class::Write) >= 1);
        assert!(of(Class::Up) < statements as usize && of(Class::Read) < statements as usize);
        if statements >= 16 {
            let all = of(Class::Up) + of(Class::Read) + of(Class::Write) + of(Class::Lookup);
            assert!(all < statements as usize, "{statements}: {all}");
        }
        assert!(of(Class::Down) + of(Class::Write) <= 6, "transactions");
    }
}

#[tokio::test]
async fn a_class_that_is_full_sheds_and_another_is_not_touched() {
    let limits = limits(small());
    let held = [read(&limits, "t", "a").await.unwrap(), read(&limits, "t", "b").await.unwrap()];
    assert!(matches!(read(&limits, "t", "c").await, Err(ApiError::Busy)));
    assert!(limits.admit(&mut parts(Method::POST), "t", "c").await.is_ok());
    assert!(limits.metrics.encode().contains("alpine_requests_shed_total{class=\"read\"} 1\n"));
    drop(held);
    assert!(read(&limits, "t", "c").await.is_ok());
}

#[tokio::test]
async fn who_only_waits_or_sends_holds_no_place_and_who_has_sent_has_one_after() {
    let limits = limits(small());
    let (waits, sends) = (read(&limits, "t", "a").await.unwrap(), read(&limits, "t", "b").await.unwrap());
    waits.leave();
    limits
        .while_sending(&sends, async {
            tokio::task::yield_now().await;
            let others = [read(&limits, "t", "c").await, read(&limits, "t", "c").await];
            assert!(others.iter().all(Result::is_ok));
        })
        .await
        .unwrap();
    assert!(waits.place().is_none() && sends.place().is_some());
}

#[tokio::test]
async fn streams_have_a_bound_of_their_own_each_principals_and_everybodys() {
    let limits = limits(LimitSettings { streams_of_one: 2, streams: 3, at_once: 1, ..small() });
    let watch = |principal: &str| limits.watch(&TenantId::parse("t").unwrap(), &PrincipalId::parse(principal).unwrap());
    let of_ann = [watch("ann").unwrap(), watch("ann").unwrap()];
    assert!(matches!(watch("ann"), Err(ApiError::Limited { .. })));
    let of_bob = watch("bob").unwrap();
    assert!(matches!(watch("bob"), Err(ApiError::Busy)), "of all together");
    assert!(limits.metrics.encode().contains("alpine_event_stream_watchers 3\n"));
    assert!(read(&limits, "t", "ann").await.is_ok(), "a stream is no request under way");
    drop((of_ann, of_bob));
    assert!(watch("ann").is_ok());
    assert!(limits.metrics.encode().contains("alpine_event_stream_watchers 0\n"));
}

#[tokio::test]
async fn work_that_goes_on_without_its_caller_keeps_the_place() {
    let limits = limits(small());
    let work = [read(&limits, "t", "a").await.unwrap().place(), read(&limits, "t", "a").await.unwrap().place()];
    assert!(matches!(read(&limits, "t", "b").await, Err(ApiError::Busy)));
    drop(work);
    assert!(read(&limits, "t", "b").await.is_ok());
}

#[tokio::test]
async fn a_principal_has_so_many_under_way_and_one_of_another_tenant_is_another() {
    let limits = limits(LimitSettings { at_once: 1, ..small() });
    let held = read(&limits, "t", "a").await.unwrap();
    assert!(matches!(read(&limits, "t", "a").await, Err(ApiError::Limited { .. })));
    for (tenant, principal) in [("t", "b"), ("u", "a"), ("ta", "")] {
        assert!(read(&limits, tenant, principal).await.is_ok(), "{tenant} {principal}");
    }
    drop(held);
    assert_eq!(limits.principals.known(), 0, "who has nothing under way is not remembered");
    let waits = read(&limits, "t", "a").await.unwrap();
    waits.leave();
    assert!(read(&limits, "t", "a").await.is_ok());
}

#[tokio::test]
async fn a_tenants_bucket_is_that_of_all_its_principals() {
    let rates = Rates { tenant: Rate::new(1, 2), ..Rates::default() };
    let limits = limits(LimitSettings { rates, ..small() });
    assert!(read(&limits, "t", "a").await.is_ok() && read(&limits, "t", "b").await.is_ok());
    assert!(matches!(read(&limits, "t", "c").await, Err(ApiError::Limited { .. })));
    assert!(read(&limits, "u", "a").await.is_ok());
}
