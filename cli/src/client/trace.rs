//! The trace that a command is: one parent for all of its requests (W3C Trace Context).

use uuid::Uuid;

/// What requests say of whom they are done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace(String);

impl Trace {
    /// The trace that this command is a part of, as whoever runs it says in `TRACEPARENT`; else one of its own. The command
    /// exports no span of itself: its id is there so that its requests are seen to belong together.
    pub fn of(given: Option<&str>) -> Self {
        let own = || {
            let (trace, span) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
            format!("00-{trace}-{}-01", &span[..16])
        };
        Self(given.filter(|given| is_valid(given)).map_or_else(own, str::to_owned))
    }

    /// The value of the header `traceparent`.
    pub fn header(&self) -> &str {
        &self.0
    }

    pub fn id(&self) -> &str {
        &self.0[3..35]
    }
}

/// Of version 00: others may be longer, and nobody knows what they mean.
fn is_valid(traceparent: &str) -> bool {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = |part: &str, length: usize| hex(part, length) && part.bytes().any(|b| b != b'0');
    matches!(parts[..], ["00", trace, span, flags] if id(trace, 32) && id(span, 16) && hex(flags, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_gone_on_with_or_begun() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(Trace::of(Some(given)).header(), given);
        assert_eq!(Trace::of(Some(given)).id(), "0af7651916cd43dd8448eb211c80319c");
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = given.to_uppercase();
        for bad in ["", "x", zero, &upper, &given[..54], &format!("{given}-00"), &format!("ff{}", &given[2..]), "00-é-b7ad6b7169203331-01"]
        {
            let own = Trace::of(Some(bad));
            assert!(is_valid(own.header()) && own.header() != bad, "{bad}");
        }
        assert_ne!(Trace::of(None), Trace::of(None));
    }
}
