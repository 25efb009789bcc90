//! A time for which a session may be ready, or may be so without a use.

use std::ops::RangeInclusive;

/// What may be asked for of any server, in seconds: a minute to 365 days.
pub const LIFETIME_SECONDS: RangeInclusive<i32> = 60..=31_536_000;

/// As people write it, in the largest unit that it is a whole number of: `90m`, `8h`, `2d`.
#[must_use]
pub fn lifetime_shown(seconds: i32) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let fits = units.into_iter().find(|(unit, _)| seconds % unit == 0);
    fits.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_people_write_it() {
        assert_eq!([86_400, 90_000, 5_400, 61].map(lifetime_shown), ["1d", "25h", "90m", "61s"]);
    }
}
