//! One schema and what has become of it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Found, array, object, resolve};

/// Which way what the schema is of goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client: whatever was good must be good.
    Request,
    /// To the client: whatever comes must be what was promised.
    Answer,
}

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// Bounds that forbid more when they grow, and those that forbid more when they shrink.
const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

pub(super) struct Compare<'v> {
    released: &'v Value,
    current: &'v Value,
    way: Way,
    /// Pairs of references that are being compared: schemas may hold themselves.
    open: BTreeSet<(String, String)>,
}

impl<'v> Compare<'v> {
    pub(super) fn new(released: &'v Value, current: &'v Value, way: Way) -> Self {
        Self { released, current, way, open: BTreeSet::new() }
    }

    pub(super) fn schemas(&mut self, at: &str, old: &'v Value, new: &'v Value, found: &mut Found) {
        let name = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let pair = (name(old), name(new));
        let named = !pair.0.is_empty() || !pair.1.is_empty();
        if named && !self.open.insert(pair.clone()) {
            return;
        }
        let (flat_old, flat_new) = (flat(self.released, old), flat(self.current, new));
        self.types(at, &flat_old, &flat_new, found);
        self.values(at, &flat_old, &flat_new, found);
        self.bounds(at, &flat_old, &flat_new, found);
        self.properties(at, &flat_old, &flat_new, found);
        self.alternatives(at, &flat_old, &flat_new, found);
        if let (Some(old), Some(new)) = (flat_old.items, flat_new.items) {
            self.schemas(&format!("{at}[]"), old, new, found);
        }
        if named {
            self.open.remove(&pair);
        }
    }

    fn types(&self, at: &str, old: &Flat, new: &Flat, found: &mut Found) {
        let (from, to) = match self.way {
            Way::Request => (old, new),
            Way::Answer => (new, old),
        };
        for extra in from.types.iter().filter(|kind| !to.takes(kind)) {
            match self.way {
                Way::Request => found.add(at, format!("may not be {extra} any more")),
                Way::Answer => found.add(at, format!("may be {extra} now")),
            }
        }
        if old.word("format") != new.word("format") {
            found.add(at, "has another format");
        }
    }

    /// Enumerations, and defaults.
    fn values(&self, at: &str, old: &Flat, new: &Flat, found: &mut Found) {
        match (self.way, old.values(), new.values()) {
            (Way::Request, Some(old), Some(new)) => {
                old.iter().filter(|value| !new.contains(value)).for_each(|value| found.add(at, format!("{value} is not taken any more")));
            }
            (Way::Request, None, Some(_)) => found.add(at, "takes only certain values now"),
            // What is announced as open may grow.
            (Way::Answer, Some(_), _) if old.word("x-open-enum") == Some(&Value::Bool(true)) => {}
            (Way::Answer, Some(old), Some(new)) => {
                new.iter().filter(|value| !old.contains(value)).for_each(|value| found.add(at, format!("{value} may come now")));
            }
            (Way::Answer, Some(_), None) => found.add(at, "any value may come now"),
            (_, None, None) | (Way::Request, Some(_), None) | (Way::Answer, None, Some(_)) => {}
        }
        if self.way == Way::Request && old.word("default") != new.word("default") {
            found.add(at, "has another default");
        }
    }

    fn bounds(&self, at: &str, old: &Flat, new: &Flat, found: &mut Found) {
        let number = |schema: &Flat, name: &str| schema.word(name).and_then(Value::as_f64);
        // (what was, what is) of bounds that forbid more when they grow.
        let least = LEAST.iter().map(|name| (*name, number(old, name), number(new, name)));
        let most = MOST.iter().map(|name| (*name, number(old, name).map(|most| -most), number(new, name).map(|most| -most)));
        for (name, old, new) in least.chain(most) {
            let (old, new) = (old.unwrap_or(f64::NEG_INFINITY), new.unwrap_or(f64::NEG_INFINITY));
            match self.way {
                Way::Request if new > old => found.add(at, format!("{name} is tighter")),
                Way::Answer if new < old => found.add(at, format!("{name} is looser")),
                _ => {}
            }
        }
        // Of two patterns nobody can say which takes more.
        match (self.way, old.word("pattern"), new.word("pattern")) {
            (_, old, new) if old == new => {}
            (Way::Request, _, None) | (Way::Answer, None, _) => {}
            _ => found.add(at, "has another pattern"),
        }
        let unique = |schema: &Flat| schema.word("uniqueItems") == Some(&Value::Bool(true));
        if self.way == Way::Request && unique(new) && !unique(old) {
            found.add(at, "takes nothing twice now");
        }
    }

    fn properties(&mut self, at: &str, old: &Flat<'v>, new: &Flat<'v>, found: &mut Found) {
        for (name, old_property) in &old.properties {
            let here = format!("{at} .{name}");
            let Some(new_property) = new.properties.get(name) else {
                found.add(&here, "is gone");
                continue;
            };
            if self.way == Way::Answer && old.required.contains(name) && !new.required.contains(name) {
                found.add(&here, "may be missing");
            }
            self.schemas(&here, old_property, new_property, found);
        }
        if self.way == Way::Request {
            for name in new.required.difference(&old.required) {
                found.add(&format!("{at} .{name}"), "is required now");
            }
            let closed = |schema: &Flat| schema.word("additionalProperties") == Some(&Value::Bool(false));
            if closed(new) && !closed(old) {
                found.add(at, "takes no other fields any more");
            }
        }
    }

    /// Of `oneOf` and `anyOf`, each that may be sent must still be taken, and each that may come must have been promised.
    fn alternatives(&mut self, at: &str, old: &Flat<'v>, new: &Flat<'v>, found: &mut Found) {
        let (from, to) = match self.way {
            Way::Request => (&old.alternatives, &new.alternatives),
            Way::Answer => (&new.alternatives, &old.alternatives),
        };
        for one in from {
            let fits = to.iter().any(|other| {
                let (old, new) = if self.way == Way::Request { (one, other) } else { (other, one) };
                let mut none = Found::default();
                self.schemas(at, old, new, &mut none);
                none.0.is_empty()
            });
            if !fits && !to.is_empty() {
                found.add(at, "has other alternatives");
            }
        }
        if old.alternatives.is_empty() != new.alternatives.is_empty() {
            found.add(at, "has other alternatives");
        }
    }
}

/// A schema with its references and its `allOf` taken in. `X or null` is X that may be null.
struct Flat<'v> {
    types: BTreeSet<&'static str>,
    properties: std::collections::BTreeMap<String, &'v Value>,
    required: BTreeSet<String>,
    items: Option<&'v Value>,
    alternatives: Vec<&'v Value>,
    words: Map<String, Value>,
}

impl Flat<'_> {
    fn takes(&self, kind: &str) -> bool {
        self.types.contains(kind) || (kind == "integer" && self.types.contains("number"))
    }

    fn word(&self, name: &str) -> Option<&Value> {
        self.words.get(name)
    }

    fn values(&self) -> Option<Vec<Value>> {
        let one = self.word("const").map(|value| vec![value.clone()]);
        one.or_else(|| Some(self.word("enum")?.as_array()?.clone()))
    }
}

fn flat<'v>(document: &'v Value, schema: &'v Value) -> Flat<'v> {
    let mut whole = Flat {
        types: TYPES.into_iter().collect(),
        properties: std::collections::BTreeMap::new(),
        required: BTreeSet::new(),
        items: None,
        alternatives: Vec::new(),
        words: Map::new(),
    };
    take_in(document, schema, &mut whole);
    whole
}

fn take_in<'v>(document: &'v Value, schema: &'v Value, whole: &mut Flat<'v>) {
    if schema.get("$ref").is_some() {
        take_in(document, resolve(document, schema), whole);
    }
    array(&schema["allOf"]).for_each(|part| take_in(document, part, whole));
    for list in ["oneOf", "anyOf"] {
        let is_null = |part: &&Value| part["type"] == "null";
        let parts: Vec<&Value> = array(&schema[list]).collect();
        let nullable = parts.iter().any(is_null);
        match parts.into_iter().filter(|part| !is_null(part)).collect::<Vec<_>>().as_slice() {
            [only] => {
                take_in(document, only, whole);
                if nullable {
                    whole.types.insert("null");
                }
            }
            several => whole.alternatives.extend(several),
        }
    }
    if let Some(stated) = schema.get("type") {
        let names: Vec<&str> = stated.as_str().into_iter().chain(array(stated).filter_map(Value::as_str)).collect();
        whole.types.retain(|kind| names.contains(kind));
    }
    whole.properties.extend(object(&schema["properties"]).map(|(name, property)| (name.clone(), property)));
    whole.required.extend(array(&schema["required"]).filter_map(Value::as_str).map(str::to_owned));
    whole.items = schema.get("items").or(whole.items);
    let known = ["enum", "const", "format", "pattern", "default", "additionalProperties", "uniqueItems", "x-open-enum"];
    for name in known.iter().chain(&LEAST).chain(&MOST) {
        if let Some(value) = schema.get(name) {
            whole.words.insert((*name).to_owned(), value.clone());
        }
    }
}
