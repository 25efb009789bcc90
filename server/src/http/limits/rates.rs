//! Requests a second, of a principal and of a tenant, `up` apart from everything else (GCRA).

use std::{
    fmt,
    num::NonZeroU32,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};

use super::Class;
use crate::http::ApiError;

/// Buckets that are full again are forgotten each time that so many requests have come.
const TIDY_EVERY: u32 = 8192;
/// Beyond so many callers within a moment, those that come share buckets.
const KEYS: usize = 100_000;
const SHARED: u64 = 4096;

/// So many requests a second, and so many at once after a rest: `50/200`. `0`: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<(NonZeroU32, NonZeroU32)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give requests a second and requests at once, as in 50/200, or 0 for no bound")]
pub struct BadRate;

impl Rate {
    #[must_use]
    pub const fn new(per_second: u32, at_once: u32) -> Self {
        match (NonZeroU32::new(per_second), NonZeroU32::new(at_once)) {
            (Some(per_second), Some(at_once)) => Self(Some((per_second, at_once))),
            _ => Self(None),
        }
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        if text == "0" {
            return Ok(Self(None));
        }
        let (per_second, at_once) = text.split_once('/').ok_or(BadRate)?;
        Ok(Self(Some((per_second.parse().map_err(|_| BadRate)?, at_once.parse().map_err(|_| BadRate)?))))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("0"),
            Some((per_second, at_once)) => write!(f, "{per_second}/{at_once}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub principal: Rate,
    pub principal_up: Rate,
    pub tenant: Rate,
    pub tenant_up: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self { principal: Rate::new(50, 200), principal_up: Rate::new(5, 60), tenant: Rate::new(500, 2000), tenant_up: Rate::new(50, 600) }
    }
}

/// What a caller is told of a bucket (draft-ietf-httpapi-ratelimit-headers-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub limit: u32,
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset: Duration,
}

#[derive(Debug)]
pub(super) struct Bucket {
    limiter: RateLimiter<u64, DashMapStateStore<u64>, MonotonicClock, StateInformationMiddleware>,
    taken: AtomicU32,
}

impl Bucket {
    pub fn new(rate: Rate) -> Option<Self> {
        let (per_second, at_once) = rate.0?;
        let quota = Quota::per_second(per_second).allow_burst(at_once);
        let limiter = RateLimiter::dashmap_with_clock(quota, MonotonicClock).with_middleware::<StateInformationMiddleware>();
        Some(Self { limiter, taken: AtomicU32::new(0) })
    }

    /// What is left, and how long to wait if nothing is.
    pub fn take(&self, key: u64) -> (Figures, Option<Duration>) {
        if self.taken.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let key = if self.limiter.len() < KEYS { key } else { key % SHARED };
        let figures = |quota: Quota, remaining: u32| {
            let limit = quota.burst_size().get();
            let reset = quota.replenish_interval().saturating_mul(limit.saturating_sub(remaining));
            Figures { limit, remaining, reset }
        };
        match self.limiter.check_key(&key) {
            Ok(now) => (figures(now.quota(), now.remaining_burst_capacity()), None),
            Err(not_yet) => (figures(not_yet.quota(), 0), Some(not_yet.wait_time_from(MonotonicClock.now()))),
        }
    }
}

#[derive(Debug)]
pub struct Buckets {
    principal: Option<Bucket>,
    principal_up: Option<Bucket>,
    tenant: Option<Bucket>,
    tenant_up: Option<Bucket>,
}

impl Buckets {
    pub fn new(rates: &Rates) -> Self {
        let Rates { principal, principal_up, tenant, tenant_up } = *rates;
        let [principal, principal_up, tenant, tenant_up] = [principal, principal_up, tenant, tenant_up].map(Bucket::new);
        Self { principal, principal_up, tenant, tenant_up }
    }

    /// The figures of the bucket with the least left, if there is any, and whether the request may go on. One that its
    /// principal's bucket refuses takes nothing from the tenant's.
    pub fn take(&self, class: Class, tenant: u64, principal: u64) -> (Option<Figures>, Result<(), ApiError>) {
        let (of_principal, of_tenant) =
            if class == Class::Up { (&self.principal_up, &self.tenant_up) } else { (&self.principal, &self.tenant) };
        let limited = |what, retry_after| Err(ApiError::Limited { what, retry_after });
        let own = of_principal.as_ref().map(|bucket| bucket.take(principal));
        if let Some((figures, Some(wait))) = own {
            return (Some(figures), limited("this caller has sent too many requests in a short time", wait));
        }
        let all = of_tenant.as_ref().map(|bucket| bucket.take(tenant));
        if let Some((figures, Some(wait))) = all {
            return (Some(figures), limited("this caller's tenant has sent too many requests in a short time", wait));
        }
        let least = [own, all].into_iter().flatten().map(|(figures, _)| figures).min_by_key(|figures| figures.remaining);
        (least, Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["0", "1/1", "50/200", "4294967295/1"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "50", "0/0", "50/0", "0/5", "/", "5/", "/5", "-1/5", "1.5/3", "1/2/3", " 1/2", "1/4294967296"] {
            assert_eq!(bad.parse::<Rate>(), Err(BadRate), "{bad}");
        }
    }

    #[test]
    fn a_bucket_counts_down_and_says_when_to_come_again() {
        let bucket = Bucket::new(Rate::new(1, 3)).unwrap();
        for left in [2, 1, 0] {
            let (figures, wait) = bucket.take(7);
            assert_eq!((figures.limit, figures.remaining, wait), (3, left, None));
            assert_eq!(figures.reset, Duration::from_secs(u64::from(3 - left)));
        }
        let (figures, wait) = bucket.take(7);
        assert_eq!((figures.limit, figures.remaining), (3, 0));
        assert!(wait.is_some_and(|wait| wait > Duration::from_millis(500) && wait <= Duration::from_secs(1)), "{wait:?}");
        assert_eq!(bucket.take(8).1, None, "another's bucket is full");
    }

    #[test]
    fn the_figures_are_those_of_the_bucket_with_the_least_left() {
        let rates = Rates { principal: Rate::new(1, 10), tenant: Rate::new(1, 3), ..Rates::default() };
        let buckets = Buckets::new(&rates);
        let (figures, _) = buckets.take(Class::Read, 1, 1);
        assert_eq!(figures.map(|f| (f.limit, f.remaining)), Some((3, 2)));
        let off = Rates { principal: Rate::new(0, 0), tenant: Rate::new(0, 0), ..rates };
        let (none, within) = Buckets::new(&off).take(Class::Read, 1, 1);
        assert!(none.is_none() && within.is_ok());
    }

    #[test]
    fn callers_beyond_number_take_a_bounded_amount_of_memory() {
        let slow = Bucket::new(Rate::new(1, 1000)).unwrap();
        let fast = Bucket::new(Rate::new(u32::MAX, 1)).unwrap();
        for key in 0..200_000 {
            slow.take(key * 7919);
            fast.take(key * 7919);
        }
        assert!(slow.limiter.len() <= KEYS + usize::try_from(SHARED).unwrap(), "{}", slow.limiter.len());
        assert!(fast.limiter.len() <= usize::try_from(TIDY_EVERY).unwrap(), "{}", fast.limiter.len());
    }
}
