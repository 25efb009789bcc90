//! JSON entries with the bytes of their values as they stand in the file, and no entry lost to another of its name.

use std::fmt;

use chrono::{DateTime, Datelike, Utc};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The entries of an object (with their names) or of a list, in the file's order.
#[derive(Debug, Default)]
pub struct Entries(pub Vec<(Option<String>, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    entries.push((Some(name), value));
                }
                Ok(Entries(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(value) = list.next_element::<Box<RawValue>>()? {
                    entries.push((None, value));
                }
                Ok(Entries(entries))
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries::default())
            }
        }
        deserializer.deserialize_any(Both)
    }
}

/// What is wrong with a value: the member's name and what was expected, never the value.
pub type Wrong = String;

/// The members of one object.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    pub fn of(raw: &RawValue) -> Result<Self, Wrong> {
        let object = raw.get().trim_start().starts_with('{');
        let entries: Entries = serde_json::from_str(raw.get()).map_err(|_| "it is not an object".to_owned())?;
        if !object {
            return Err("it is not an object".to_owned());
        }
        let members: Vec<_> = entries.0.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
        for (index, (name, _)) in members.iter().enumerate() {
            if members[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err("one of its members is there twice".to_owned());
            }
        }
        Ok(Self(members))
    }

    /// How many members have none of these names.
    pub fn others(&self, known: &[&[&str]]) -> usize {
        self.0.iter().filter(|(name, _)| !known.iter().any(|names| names.contains(&name.as_str()))).count()
    }

    /// The first that is there under one of these names and is not null.
    pub fn raw(&self, names: &[&str]) -> Option<&RawValue> {
        names.iter().find_map(|name| self.0.iter().find(|(own, value)| own == name && value.get() != "null")).map(|(_, value)| &**value)
    }

    /// A text; an empty one is none.
    pub fn text(&self, names: &[&str]) -> Result<Option<String>, Wrong> {
        let Some(raw) = self.raw(names) else { return Ok(None) };
        let text: String = serde_json::from_str(raw.get()).map_err(|_| format!("{} is not a text", names[0]))?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    pub fn required(&self, names: &[&str]) -> Result<String, Wrong> {
        self.text(names)?.ok_or_else(|| format!("{} is missing", names[0]))
    }

    pub fn flag(&self, names: &[&str]) -> Result<bool, Wrong> {
        self.raw(names)
            .map_or(Ok(false), |raw| serde_json::from_str(raw.get()).map_err(|_| format!("{} is neither true nor false", names[0])))
    }

    pub fn number(&self, names: &[&str]) -> Result<Option<i64>, Wrong> {
        self.raw(names).map(|raw| serde_json::from_str(raw.get()).map_err(|_| format!("{} is not a whole number", names[0]))).transpose()
    }

    /// A time (RFC 3339); the zero time of Go is none.
    pub fn time(&self, names: &[&str]) -> Result<Option<DateTime<Utc>>, Wrong> {
        let Some(text) = self.text(names)? else { return Ok(None) };
        let time = DateTime::parse_from_rfc3339(&text).map_err(|_| format!("{} is not a time (RFC 3339)", names[0]))?;
        Ok(Some(time.with_timezone(&Utc)).filter(|time| time.year() > 1))
    }

    /// What stands there as entries.
    pub fn entries(&self, names: &[&str]) -> Result<Entries, Wrong> {
        let Some(raw) = self.raw(names) else { return Ok(Entries::default()) };
        serde_json::from_str(raw.get()).map_err(|_| format!("{} is neither an object nor a list", names[0]))
    }
}

/// JSON without the space between its parts.
pub fn minified(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        let keep = inside || !c.is_ascii_whitespace();
        match (inside, escaped, c) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, false, '"') => inside = !inside,
            _ => {}
        }
        keep
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Result<Fields, Wrong> {
        Fields::of(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn entries_keep_their_order_and_those_that_are_there_twice() {
        let entries: Entries = serde_json::from_str(r#"{"b": 1, "a": [ 2 ], "b": 3}"#).unwrap();
        let seen: Vec<_> = entries.0.iter().map(|(name, raw)| (name.as_deref().unwrap(), raw.get())).collect();
        assert_eq!(seen, [("b", "1"), ("a", "[ 2 ]"), ("b", "3")]);
        assert!(serde_json::from_str::<Entries>("null").unwrap().0.is_empty());
        assert!(serde_json::from_str::<Entries>("5").is_err());
    }

    #[test]
    fn values_of_a_wrong_type_are_named_and_not_repeated() {
        let given =
            fields(r#"{"a": "s3cret", "n": 5, "t": "2026-01-01", "zero": "0001-01-01T00:00:00Z", "no": null, "empty": ""}"#).unwrap();
        assert_eq!(given.text(&["n"]), Err("n is not a text".to_owned()));
        assert_eq!(given.flag(&["a"]), Err("a is neither true nor false".to_owned()));
        assert_eq!(given.time(&["t"]), Err("t is not a time (RFC 3339)".to_owned()));
        assert_eq!(given.time(&["zero"]), Ok(None));
        assert_eq!((given.text(&["no"]), given.text(&["empty"])), (Ok(None), Ok(None)));
        assert_eq!(given.text(&["other", "a"]), Ok(Some("s3cret".to_owned())));
        assert_eq!(given.others(&[&["a", "x"], &["n"]]), 4);
        assert!(fields("[]").is_err() && fields(r#"{"a":1,"a":2}"#).is_err());
    }

    #[test]
    fn only_the_space_between_parts_goes() {
        assert_eq!(minified("{ \"a b\" :\n [ 1 , \"c \\\" d\" ] }"), r#"{"a b":[1,"c \" d"]}"#);
    }
}
