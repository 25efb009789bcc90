//! A lifetime as people write it.

use alpine_api::LIFETIME_SECONDS;

/// Seconds of `90m`, `8h` or `2d`, within what may be asked for.
pub fn parse(text: &str) -> Result<i32, &'static str> {
    let seconds = seconds(text)?;
    if LIFETIME_SECONDS.contains(&seconds) { Ok(seconds) } else { Err("it has to be from 1m to 365d") }
}

pub(super) fn seconds(text: &str) -> Result<i32, &'static str> {
    const FORM: &str = "a number and a unit are needed, as in 90m, 8h or 2d";
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or(FORM)?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(FORM),
    };
    number.parse::<i32>().ok().and_then(|number| number.checked_mul(unit)).ok_or(FORM)
}

#[cfg(test)]
mod tests {
    use alpine_api::lifetime_shown;

    use super::*;

    #[test]
    fn what_is_shown_is_what_can_be_written() {
        for (seconds, text) in [(86_400, "1d"), (28_800, "8h"), (90_000, "25h"), (5_400, "90m"), (61, "61s")] {
            assert_eq!((lifetime_shown(seconds).as_str(), parse(text)), (text, Ok(seconds)));
        }
    }

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!([parse("90m"), parse("8h"), parse("365d"), parse("60s")], [Ok(5_400), Ok(28_800), Ok(31_536_000), Ok(60)]);
        for bad in ["", "8", "h", "8 h", "-8h", "1.5h", "8hours", "59s", "366d", "99999999999d", "2147483647d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
