//! What is to go wrong, and where: `point=act[@probability][#count]`.

use std::{fmt, str::FromStr};

use crate::domain::operation::Phase;

/// The provider's calls that have points.
const CALLS: &[&str] = &["ensure", "exec", "serve", "stop", "destroy", "inspect"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    /// Its side effect is done, and nobody knows yet.
    After,
    /// The commit that ends a phase is done.
    Committed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Phase(Phase),
    Call(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    pub place: Place,
    pub when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL to itself.
    Kill,
    /// SIGABRT to itself: the end that leaves a core file, where there is one.
    Abort,
    /// The task panics.
    Panic,
    /// SIGSTOP to itself.
    Freeze,
    /// A passing error; after the side effect it is a lost reply.
    Error,
    /// A passing error that says that the disk is full.
    Full,
    /// It never returns.
    Hang,
    /// The phase runs twice in a row.
    Again,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub point: Point,
    pub act: Act,
    pub probability: f64,
    /// At most so often in this process.
    pub count: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("`{0}` is not point=act[@probability][#count]")]
    Shape(String),
    #[error("`{0}` is not a point: <phase>.before, .after or .committed; <provider call>.before or .after")]
    Point(String),
    #[error("`{0}` is not an act: kill, abort, panic, freeze, error, full, hang, again")]
    Act(String),
    #[error("`{0}` is not a probability above 0 and up to 1")]
    Probability(String),
    #[error("`{0}` is not a count of at least 1")]
    Count(String),
    #[error("`{act}` cannot happen at {point}")]
    Pair { point: Point, act: &'static str },
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (point, rest) = text.trim().split_once('=').ok_or_else(|| RuleError::Shape(text.to_owned()))?;
        let (rest, count) = rest.split_once('#').map_or((rest, None), |(rest, count)| (rest, Some(count)));
        let (act, probability) = rest.split_once('@').map_or((rest, "1"), |(act, probability)| (act, probability));
        let (point, act): (Point, Act) = (point.parse()?, act.parse()?);
        if !act.may_happen_at(point) {
            return Err(RuleError::Pair { point, act: act.as_str() });
        }
        let probable = |p: &f64| *p > 0.0 && *p <= 1.0;
        let probability = probability.parse().ok().filter(probable).ok_or_else(|| RuleError::Probability(probability.to_owned()))?;
        let count = count
            .map(|count| count.parse().ok().filter(|count| *count > 0).ok_or_else(|| RuleError::Count(count.to_owned())))
            .transpose()?;
        Ok(Self { point, act, probability, count })
    }
}

impl FromStr for Point {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let unknown = || RuleError::Point(text.to_owned());
        let (place, when) = text.rsplit_once('.').ok_or_else(unknown)?;
        let when = match when {
            "before" => When::Before,
            "after" => When::After,
            "committed" => When::Committed,
            _ => return Err(unknown()),
        };
        // `stop` and `destroy` are phases and calls: the bare name is the phase.
        let call = |name: &str| CALLS.iter().find(|call| **call == name).map(|call| Place::Call(call));
        let place = match (place.strip_prefix("provider."), place.parse()) {
            (Some(name), _) => call(name),
            (None, Ok(phase)) => Some(Place::Phase(phase)),
            (None, Err(_)) => call(place),
        };
        match place {
            Some(Place::Call(_)) if when == When::Committed => Err(unknown()),
            Some(place) => Ok(Self { place, when }),
            None => Err(unknown()),
        }
    }
}

impl FromStr for Act {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let acts = [Self::Kill, Self::Abort, Self::Panic, Self::Freeze, Self::Error, Self::Full, Self::Hang, Self::Again];
        acts.into_iter().find(|act| act.as_str() == text).ok_or_else(|| RuleError::Act(text.to_owned()))
    }
}

impl Act {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Abort => "abort",
            Self::Panic => "panic",
            Self::Freeze => "freeze",
            Self::Error => "error",
            Self::Full => "full",
            Self::Hang => "hang",
            Self::Again => "again",
        }
    }

    fn may_happen_at(self, point: Point) -> bool {
        match self {
            Self::Kill | Self::Abort | Self::Panic | Self::Freeze => true,
            // Nothing is left there that could fail, and no deadline would end the wait.
            Self::Error | Self::Full | Self::Hang => point.when != When::Committed,
            Self::Again => matches!(point.place, Place::Phase(_)) && point.when != When::Committed,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Phase(phase) => write!(f, "{phase}.")?,
            Place::Call(call) => write!(f, "provider.{call}.")?,
        }
        f.write_str(match self.when {
            When::Before => "before",
            When::After => "after",
            When::Committed => "committed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_read_with_and_without_probability_and_count() {
        let point = Point { place: Place::Phase(Phase::Sync), when: When::After };
        assert_eq!(rule("sync.after=kill#1"), Rule { point, act: Act::Kill, probability: 1.0, count: Some(1) });
        let point = Point { place: Place::Call("exec"), when: When::Before };
        assert_eq!(rule("exec.before=hang@0.02"), Rule { point, act: Act::Hang, probability: 0.02, count: None });
        assert_eq!(rule("provider.exec.before=hang@0.02"), rule("exec.before=hang@0.02"));
        assert_eq!(rule("start.before=full@0.5#3").count, Some(3));
    }

    #[test]
    fn a_name_that_is_a_phase_and_a_call_is_the_phase_unless_it_says_provider() {
        assert_eq!(rule("stop.before=error").point.place, Place::Phase(Phase::Stop));
        assert_eq!(rule("provider.stop.before=error").point.place, Place::Call("stop"));
        assert_eq!(rule("provider.destroy.after=error").point.to_string(), "provider.destroy.after");
    }

    #[test]
    fn a_rule_that_is_wrong_says_what_is_wrong() {
        for (text, error) in [
            ("", "`` is not point=act"),
            ("sync.after", "`sync.after` is not point=act"),
            ("sink.after=kill", "`sink.after` is not a point"),
            ("sync.during=kill", "`sync.during` is not a point"),
            ("ensure.committed=kill", "`ensure.committed` is not a point"),
            ("sync.after=explode", "`explode` is not an act"),
            ("sync.after=kill@2", "`2` is not a probability"),
            ("sync.after=kill@NaN", "`NaN` is not a probability"),
            ("sync.after=kill#0", "`0` is not a count"),
            ("ensure.after=again", "`again` cannot happen at provider.ensure.after"),
            ("sync.committed=hang", "`hang` cannot happen at sync.committed"),
        ] {
            let said = text.parse::<Rule>().unwrap_err().to_string();
            assert!(said.starts_with(error), "{text}: {said}");
        }
    }
}
