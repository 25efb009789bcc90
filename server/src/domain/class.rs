//! Sandbox classes: named sizes, and who may have which.

use alpine_api::Class as Shown;

use super::{
    Fault,
    idempotency::UpOptions,
    lifetime::{EndPolicy, LifetimePolicy, TooLong},
    principal::TenantId,
};

/// How much of the machine a session has, and what of. `None`: as the workers are set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassSize {
    pub memory_mb: Option<i32>,
    /// Thousandths.
    pub cpu_millis: Option<i32>,
    pub disk_mb: Option<i32>,
    /// Where sessions are containers.
    pub image: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    pub name: String,
    pub description: Option<String>,
    pub size: ClassSize,
    pub ends: EndPolicy,
    /// Whose it is; `None`: everybody's.
    pub tenants: Option<Vec<TenantId>>,
}

/// What a new session gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// `None`: the server has no classes.
    pub class: Option<String>,
    pub size: ClassSize,
    /// In seconds; `None`: without an end.
    pub lifetime: Option<i32>,
    /// The longest that it may be extended by.
    pub most_lifetime: Option<i32>,
    /// How long it may be ready without a use.
    pub idle_timeout: Option<i32>,
}

/// All that an operator offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes {
    /// Of sessions without a class, and the bound of all.
    ends: EndPolicy,
    all: Vec<Class>,
    /// What a tenant gets that asks for nothing: the first of these that it may have.
    defaults: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    #[error("the class {0:?} is there twice")]
    Twice(String),
    #[error("a class's name is of 1 to 32 of a-z, 0-9 and -, and begins with a letter: {0:?} is none")]
    Name(String),
    #[error("the default {0:?} is none of the classes")]
    NoDefault(String),
    #[error("no default is everybody's: give one that has no tenants")]
    DefaultOfSome,
}

impl Classes {
    /// Without classes: one size for all, and no names.
    #[must_use]
    pub const fn none(ends: EndPolicy) -> Self {
        Self { ends, all: Vec::new(), defaults: Vec::new() }
    }

    pub fn new(ends: EndPolicy, all: Vec<Class>, defaults: Vec<String>) -> Result<Self, ClassError> {
        for (at, class) in all.iter().enumerate() {
            if !is_name(&class.name) {
                return Err(ClassError::Name(class.name.clone()));
            }
            if all[..at].iter().any(|earlier| earlier.name == class.name) {
                return Err(ClassError::Twice(class.name.clone()));
            }
        }
        let find = |name: &String| all.iter().find(|class| class.name == *name).ok_or_else(|| ClassError::NoDefault(name.clone()));
        let found: Vec<&Class> = defaults.iter().map(find).collect::<Result<_, _>>()?;
        if !all.is_empty() && found.iter().all(|class| class.tenants.is_some()) {
            return Err(ClassError::DefaultOfSome);
        }
        Ok(Self { ends, all, defaults })
    }

    /// Of all of them, for the workers.
    pub fn sizes(&self) -> impl Iterator<Item = &ClassSize> {
        self.all.iter().map(|class| &class.size)
    }

    /// What this tenant may choose from.
    pub fn of<'a>(&'a self, tenant: &'a TenantId) -> impl Iterator<Item = &'a Class> {
        self.all.iter().filter(|class| class.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant)))
    }

    /// The same, as it is shown.
    #[must_use]
    pub fn shown(&self, tenant: &TenantId) -> Vec<Shown> {
        let default = self.default_of(tenant).map(|class| &class.name);
        let show = |class: &Class| {
            let ends = class.ends.within(self.ends);
            Shown {
                name: class.name.clone(),
                description: class.description.clone(),
                default: default == Some(&class.name),
                memory_mb: class.size.memory_mb,
                cpu_millis: class.size.cpu_millis,
                disk_mb: class.size.disk_mb,
                image: class.size.image.clone(),
                lifetime_seconds: ends.lifetime.of_new(None).ok().flatten(),
                max_lifetime_seconds: ends.lifetime.most,
                idle_seconds: ends.idle.of_new(None).ok().flatten(),
                max_idle_seconds: ends.idle.most,
            }
        };
        self.of(tenant).map(show).collect()
    }

    /// A class of another tenant is answered as one that is not there.
    pub fn grant(&self, tenant: &TenantId, asked: &UpOptions) -> Result<Grant, Fault> {
        let found = match &asked.class {
            Some(name) => Some(self.of(tenant).find(|class| class.name == *name).ok_or_else(|| self.unknown(tenant))?),
            None => self.default_of(tenant),
        };
        let ends = found.map_or(self.ends, |class| class.ends.within(self.ends));
        let lifetime = ends.lifetime.of_new(asked.lifetime)?;
        let idle_timeout = ends.idle.of_new(asked.idle_timeout).map_err(|TooLong(most)| Fault::IdleTooLong { most })?;
        let (class, size) = found.map_or_else(Default::default, |class| (Some(class.name.clone()), class.size.clone()));
        Ok(Grant { class, size, lifetime, most_lifetime: ends.lifetime.most, idle_timeout })
    }

    /// Whether a session may be stopped because nobody uses it though nobody has asked for that.
    #[must_use]
    pub fn ends_idle(&self) -> bool {
        let says = |policy: &LifetimePolicy| policy.standard.is_some() || policy.most.is_some();
        says(&self.ends.idle) || self.all.iter().any(|class| says(&class.ends.idle))
    }

    /// For how long from now on a session may be ready that was given `own` when it began and may have `most` at once.
    pub fn extended(&self, asked: Option<i32>, own: i32, most: Option<i32>) -> Result<i32, TooLong> {
        LifetimePolicy { standard: None, most: most.into_iter().chain(self.ends.lifetime.most).min() }.of_extended(asked, own)
    }

    fn default_of<'a>(&'a self, tenant: &'a TenantId) -> Option<&'a Class> {
        self.defaults.iter().find_map(|name| self.of(tenant).find(|class| class.name == *name))
    }

    fn unknown(&self, tenant: &TenantId) -> Fault {
        Fault::NoSuchClass { known: self.of(tenant).map(|class| class.name.clone()).collect() }
    }
}

fn is_name(text: &str) -> bool {
    let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    rest && text.len() <= 32 && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> Class {
        Class { name: name.into(), description: None, size: ClassSize::default(), ends: EndPolicy::default(), tenants: None }
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn policy(standard: i32, most: i32) -> LifetimePolicy {
        LifetimePolicy { standard: Some(standard), most: Some(most) }
    }

    fn asked(class: Option<&str>, lifetime: Option<i32>, idle_timeout: Option<i32>) -> UpOptions {
        UpOptions { class: class.map(str::to_owned), lifetime, idle_timeout }
    }

    /// `small` and `large` for all, `gpu` for one tenant, which gets it where it asks for nothing.
    fn offered() -> Classes {
        let small = Class { size: ClassSize { memory_mb: Some(1024), ..ClassSize::default() }, ..class("small") };
        let ends = EndPolicy { lifetime: policy(600, 90_000), idle: policy(1200, 2400) };
        let large = Class { ends, ..class("large") };
        let gpu = Class { tenants: Some(vec![tenant("acme")]), ..class("gpu") };
        let ends = EndPolicy { lifetime: policy(3600, 86_400), idle: policy(900, 1800) };
        Classes::new(ends, vec![small, large, gpu], vec!["gpu".into(), "small".into()]).unwrap()
    }

    #[test]
    fn a_tenant_chooses_from_its_own_and_everybodys() {
        let offered = offered();
        let class = |who: &str, name| offered.grant(&tenant(who), &asked(name, None, None)).map(|grant| grant.class.unwrap());
        assert_eq!((class("acme", None), class("beta", None)), (Ok("gpu".into()), Ok("small".into())));
        assert_eq!(class("beta", Some("large")), Ok("large".into()));
        let unknown = Fault::NoSuchClass { known: vec!["small".into(), "large".into()] };
        assert_eq!((class("beta", Some("gpu")), class("beta", Some("huge"))), (Err(unknown.clone()), Err(unknown)), "the same answer");
        let names = |who: &str| offered.shown(&tenant(who)).into_iter().map(|class| (class.name, class.default)).collect::<Vec<_>>();
        assert_eq!(names("acme"), [("small".into(), false), ("large".into(), false), ("gpu".into(), true)]);
        assert_eq!(names("beta"), [("small".into(), true), ("large".into(), false)]);
    }

    #[test]
    fn a_classes_lifetimes_count_within_the_servers() {
        let (offered, beta) = (offered(), tenant("beta"));
        let lifetime = |class, most| offered.grant(&beta, &asked(class, most, None)).map(|grant| grant.lifetime);
        assert_eq!((lifetime(None, None), lifetime(Some("large"), None)), (Ok(Some(3600)), Ok(Some(600))));
        assert!(matches!(lifetime(Some("large"), Some(86_401)), Err(Fault::TooLong(_))), "the server's is less");
        assert_eq!(offered.grant(&beta, &asked(Some("large"), None, None)).unwrap().most_lifetime, Some(86_400));
        assert_eq!((offered.extended(None, 600, Some(1200)), offered.extended(Some(1200), 600, Some(1200))), (Ok(600), Ok(1200)));
        assert!(offered.extended(Some(1201), 600, Some(1200)).is_err(), "what it was given when it began");
        assert!(offered.extended(Some(86_401), 600, None).is_err(), "what the server gives now");
    }

    #[test]
    fn how_long_nobody_may_use_a_session_is_bounded_likewise() {
        let (offered, beta) = (offered(), tenant("beta"));
        let idle = |class, timeout| offered.grant(&beta, &asked(class, None, timeout)).map(|grant| grant.idle_timeout);
        assert_eq!((idle(None, None), idle(Some("large"), None)), (Ok(Some(900)), Ok(Some(1200))));
        assert_eq!((idle(None, Some(60)), idle(Some("large"), Some(1801))), (Ok(Some(60)), Err(Fault::IdleTooLong { most: 1800 })));
        let large = offered.shown(&beta).into_iter().find(|class| class.name == "large").unwrap();
        assert_eq!((large.idle_seconds, large.max_idle_seconds), (Some(1200), Some(1800)));
        let of_class = Class { ends: EndPolicy { idle: policy(60, 60), ..EndPolicy::default() }, ..class("a") };
        let ends_idle = |all| Classes::new(EndPolicy::default(), all, vec!["a".into()]).unwrap().ends_idle();
        assert_eq!((ends_idle(vec![class("a")]), ends_idle(vec![of_class]), offered.ends_idle()), (false, true, true));
    }

    #[test]
    fn without_classes_there_are_no_names_to_choose_from() {
        let lifetime = LifetimePolicy { standard: Some(60), most: None };
        let none = Classes::none(EndPolicy { lifetime, ..EndPolicy::default() });
        assert_eq!(none.grant(&tenant("acme"), &UpOptions::default()), Ok(Grant { lifetime: Some(60), ..Grant::default() }));
        assert_eq!(none.grant(&tenant("acme"), &asked(Some("small"), None, None)), Err(Fault::NoSuchClass { known: Vec::new() }));
        assert!(none.shown(&tenant("acme")).is_empty());
    }

    #[test]
    fn what_cannot_be_offered_is_refused() {
        let new = |all, defaults: &[&str]| {
            Classes::new(EndPolicy::default(), all, defaults.iter().map(|name| (*name).to_owned()).collect()).err()
        };
        assert_eq!(new(vec![class("a"), class("a")], &["a"]), Some(ClassError::Twice("a".into())));
        for bad in ["", "A", "1a", "a_b", &"a".repeat(33)] {
            assert_eq!(new(vec![class(bad)], &["a"]), Some(ClassError::Name(bad.into())));
        }
        assert_eq!(new(vec![class("a")], &["b"]), Some(ClassError::NoDefault("b".into())));
        let own = Class { tenants: Some(vec![tenant("acme")]), ..class("own") };
        assert_eq!(new(vec![class("a"), own], &["own"]), Some(ClassError::DefaultOfSome));
        assert_eq!(new(vec![class("a")], &[]), Some(ClassError::DefaultOfSome));
    }
}
