//! What a client of a released document would trip over in a newer one. A line for each: what is compared, and what is wrong.
//!
//! A request that was good must stay good: it may be asked for no more, and bounds may only widen. An answer must be as it was
//! promised: it may hold more, but nothing is missing, of another type, or beyond the bounds that were named.

mod schema;

use std::collections::{BTreeMap, BTreeSet};

use schema::{Compare, Way};
use serde_json::Value;

const METHODS: &[&str] = &["get", "put", "post", "delete", "patch", "head", "options", "trace"];

/// Every break, sorted; empty where there is none.
pub fn breaks(released: &Value, current: &Value) -> Vec<String> {
    let mut found = Found::default();
    for (path, method, old) in operations(released) {
        let at = format!("{} {path}", method.to_uppercase());
        match current["paths"][path].get(method) {
            Some(new) => Operation { released, current, at: &at, old, new }.compare(&mut found),
            None => found.add(&at, "the operation is gone"),
        }
    }
    for (name, old) in object(&released["components"]["securitySchemes"]) {
        let new = &current["components"]["securitySchemes"][name];
        for field in ["type", "scheme", "in", "name"].into_iter().filter(|field| old[field] != new[field]) {
            found.add(&format!("security scheme {name}"), format!("`{field}` has changed"));
        }
    }
    found.0.into_iter().collect()
}

/// What has changed without having been announced, and what was announced and is not so: both must be empty. An announcement is a
/// line as `breaks` gives it; blank lines and those that begin with `#` are none.
pub fn unannounced(breaks: &[String], announcements: &str) -> Vec<String> {
    let lines = announcements.lines().map(str::trim);
    let announced: BTreeSet<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let found: BTreeSet<&str> = breaks.iter().map(String::as_str).collect();
    let new = found.difference(&announced).map(|line| format!("not announced: {line}"));
    let stale = announced.difference(&found).map(|line| format!("announced, and not so: {line}"));
    new.chain(stale).collect()
}

#[derive(Default)]
struct Found(BTreeSet<String>);

impl Found {
    fn add(&mut self, at: &str, what: impl AsRef<str>) {
        self.0.insert(format!("{at}: {}", what.as_ref()));
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &'static str, &Value)> {
    let paths = object(&document["paths"]);
    paths.flat_map(|(path, item)| METHODS.iter().filter_map(move |method| Some((path, *method, item.get(method)?))))
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What a reference leads to; what is none is itself.
fn resolve<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let mut value = value;
    while let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        value = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).unwrap_or(&Value::Null);
    }
    value
}

struct Operation<'v> {
    released: &'v Value,
    current: &'v Value,
    at: &'v str,
    old: &'v Value,
    new: &'v Value,
}

impl<'v> Operation<'v> {
    fn compare(&self, found: &mut Found) {
        if self.old["operationId"] != self.new["operationId"] {
            found.add(self.at, "the operation has another id");
        }
        self.security(found);
        self.parameters(found);
        self.body(found);
        self.responses(found);
    }

    fn schemas(&self, at: String, way: Way, old: &'v Value, new: &'v Value, found: &mut Found) {
        Compare::new(self.released, self.current, way).schemas(&at, old, new, found);
    }

    /// Whoever could call it can call it.
    fn security(&self, found: &mut Found) {
        let ways_in = |document: &Value, operation: &Value| -> Vec<BTreeSet<String>> {
            let stated = operation.get("security").unwrap_or(&document["security"]);
            let stated: Vec<_> = array(stated).map(|way| object(way).map(|(name, _)| name.clone()).collect()).collect();
            if stated.is_empty() { vec![BTreeSet::new()] } else { stated }
        };
        let new = ways_in(self.current, self.new);
        for old in ways_in(self.released, self.old) {
            if !new.iter().any(|new| new.is_subset(&old)) {
                let old = if old.is_empty() { "no credential".to_owned() } else { old.into_iter().collect::<Vec<_>>().join(" and ") };
                found.add(self.at, format!("{old} is not enough any more"));
            }
        }
    }

    fn parameters(&self, found: &mut Found) {
        let named = |document: &'v Value, operation: &'v Value| -> BTreeMap<(String, String), &'v Value> {
            let all = array(&operation["parameters"]).map(|parameter| resolve(document, parameter));
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            all.map(|parameter| ((text(&parameter["in"]), text(&parameter["name"])), parameter)).collect()
        };
        let (old, new) = (named(self.released, self.old), named(self.current, self.new));
        for (key, parameter) in &new {
            let was = old.get(key).is_some_and(|old| old["required"] == true);
            if parameter["required"] == true && !was {
                found.add(self.at, format!("{} {} is required now", key.0, key.1));
            }
        }
        for (key, parameter) in old {
            match new.get(&key) {
                Some(new) => {
                    self.schemas(format!("{} {} {}", self.at, key.0, key.1), Way::Request, &parameter["schema"], &new["schema"], found);
                }
                None => found.add(self.at, format!("{} {} is gone", key.0, key.1)),
            }
        }
    }

    fn body(&self, found: &mut Found) {
        let old = resolve(self.released, &self.old["requestBody"]);
        let new = resolve(self.current, &self.new["requestBody"]);
        if new["required"] == true && old["required"] != true {
            found.add(self.at, "a body is required now");
        }
        self.contents(&format!("{} body", self.at), Way::Request, &old["content"], &new["content"], found);
    }

    fn contents(&self, at: &str, way: Way, old: &'v Value, new: &'v Value, found: &mut Found) {
        for (media, old) in object(old) {
            match new.get(media) {
                Some(new) => self.schemas(format!("{at} {media}"), way, &old["schema"], &new["schema"], found),
                None => found.add(at, format!("{media} is gone")),
            }
        }
    }

    fn responses(&self, found: &mut Found) {
        let good = |status: &str| status.starts_with('2');
        for (status, old) in object(&self.old["responses"]) {
            let old = resolve(self.released, old);
            let at = format!("{} {status}", self.at);
            let Some(new) = self.new["responses"].get(status) else {
                // Fewer refusals are no harm.
                if good(status) {
                    found.add(&at, "the status is gone");
                }
                continue;
            };
            let new = resolve(self.current, new);
            self.contents(&at, Way::Answer, &old["content"], &new["content"], found);
            self.headers(&at, old, new, found);
        }
        // A client takes a success that it does not know for a failure.
        for (status, _) in object(&self.new["responses"]).filter(|(status, _)| good(status)) {
            if self.old["responses"].get(status).is_none() {
                found.add(&format!("{} {status}", self.at), "a success with a status of its own");
            }
        }
    }

    fn headers(&self, at: &str, old: &'v Value, new: &'v Value, found: &mut Found) {
        for (name, old) in object(&old["headers"]) {
            let old = resolve(self.released, old);
            let Some(new) = new["headers"].get(name) else {
                found.add(at, format!("the header {name} is gone"));
                continue;
            };
            let new = resolve(self.current, new);
            if old["required"] == true && new["required"] != true {
                found.add(at, format!("the header {name} may be missing"));
            }
            self.schemas(format!("{at} header {name}"), Way::Answer, &old["schema"], &new["schema"], found);
        }
    }
}
