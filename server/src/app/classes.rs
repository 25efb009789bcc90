//! The file of classes: what an operator offers, read once.

use std::{fs, path::Path, sync::Arc};

use serde::Deserialize;

use super::AppError;
use crate::{
    config::CommonArgs,
    domain::{
        class::{Class, ClassSize, Classes},
        lifetime::{EndPolicy, LifetimePolicy},
        principal::TenantId,
    },
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// One name, or several: each tenant gets the first that it may have.
    default: Names,
    class: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    description: Option<String>,
    memory_mb: Option<i32>,
    cpus: Option<f64>,
    disk_mb: Option<i32>,
    image: Option<String>,
    lifetime_seconds: Option<i32>,
    max_lifetime_seconds: Option<i32>,
    idle_seconds: Option<i32>,
    max_idle_seconds: Option<i32>,
    tenants: Option<Vec<String>>,
}

/// Those of the file, or none at all.
pub fn read(common: &CommonArgs) -> Result<Arc<Classes>, AppError> {
    let sandbox = &common.sandbox;
    let ends = EndPolicy {
        lifetime: LifetimePolicy { standard: sandbox.session_lifetime_seconds, most: sandbox.session_lifetime_max_seconds },
        idle: LifetimePolicy { standard: sandbox.session_idle_seconds, most: sandbox.session_idle_max_seconds },
    };
    let read = match &sandbox.classes_file {
        None => Classes::none(ends),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|source| AppError::File { path: path.clone(), source })?;
            classes(&text, ends).map_err(|what| unusable(path, &what))?
        }
    };
    if read.ends_idle() && common.apps.apps_domain.is_none() {
        return Err(AppError::Setting {
            what: "sessions that nobody uses are to be stopped, and without hosts of their own nobody can tell".to_owned(),
            next_step: "set ALPINE_APPS_DOMAIN, or take away ALPINE_SESSION_IDLE_SECONDS, ALPINE_SESSION_IDLE_MAX_SECONDS and what \
                        the classes say of it"
                .to_owned(),
        });
    }
    Ok(Arc::new(read))
}

fn unusable(path: &Path, what: &str) -> AppError {
    AppError::Setting {
        what: format!("the classes in {} cannot be used: {what}", path.display()),
        next_step: "see docs/sandboxes.md for what the file of ALPINE_CLASSES_FILE holds".to_owned(),
    }
}

fn classes(text: &str, ends: EndPolicy) -> Result<Classes, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let defaults = match file.default {
        Names::One(name) => vec![name],
        Names::Several(names) => names,
    };
    let all = file.class.into_iter().map(class).collect::<Result<_, _>>()?;
    Classes::new(ends, all, defaults).map_err(|error| error.to_string())
}

fn class(entry: Entry) -> Result<Class, String> {
    let of = entry.name.clone();
    let within = |what: &str, value: Option<i32>, least: i32| match value {
        Some(value) if value < least => Err(format!("{what} of {of:?} has to be {least} at least")),
        value => Ok(value),
    };
    let cpus = entry.cpus.map(|cpus| match (cpus * 1000.0).round() {
        // As ALPINE_SANDBOX_CPUS has it.
        millis if (10.0..=4_096_000.0).contains(&millis) => Ok(millis as i32),
        _ => Err(format!("cpus of {of:?} has to be from 0.01 to 4096")),
    });
    let tenants = entry.tenants.map(|ids| ids.iter().map(|id| TenantId::parse(id)).collect::<Result<Vec<_>, _>>());
    Ok(Class {
        size: ClassSize {
            memory_mb: within("memory_mb", entry.memory_mb, 16)?,
            cpu_millis: cpus.transpose()?,
            disk_mb: within("disk_mb", entry.disk_mb, 16)?,
            image: entry.image.filter(|image| !image.trim().is_empty()),
        },
        ends: EndPolicy {
            lifetime: LifetimePolicy {
                standard: within("lifetime_seconds", entry.lifetime_seconds, 60)?,
                most: within("max_lifetime_seconds", entry.max_lifetime_seconds, 60)?,
            },
            idle: LifetimePolicy {
                standard: within("idle_seconds", entry.idle_seconds, 60)?,
                most: within("max_idle_seconds", entry.max_idle_seconds, 60)?,
            },
        },
        tenants: tenants.transpose().map_err(|error| format!("a tenant of {of:?}: {error}"))?,
        name: entry.name,
        description: entry.description,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::idempotency::UpOptions;

    fn read(text: &str) -> Result<Classes, String> {
        classes(text, EndPolicy::default())
    }

    #[test]
    fn the_example_of_the_documentation_is_a_file_of_classes() {
        let page = include_str!("../../../docs/sandboxes.md");
        let example = page.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
        let classes = read(example).unwrap();
        let (acme, beta) = (TenantId::parse("acme").unwrap(), TenantId::parse("beta").unwrap());
        assert_eq!((classes.of(&acme).count(), classes.of(&beta).count()), (3, 2));
        let standard = classes.grant(&beta, &UpOptions::default()).unwrap();
        assert_eq!(
            (standard.class.as_deref(), standard.size.memory_mb, standard.size.cpu_millis),
            (Some("standard"), Some(4096), Some(2000))
        );
        assert_eq!(classes.grant(&acme, &UpOptions::default()).unwrap().class.as_deref(), Some("gpu-tools"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        let file = |entry: &str| format!("default = \"a\"\n[[class]]\nname = \"a\"\n{entry}\n");
        assert!(read(&file("")).is_ok());
        for (entry, said) in [
            ("memory_mb = 0", "memory_mb of \"a\""),
            ("cpus = 0.0", "cpus of \"a\""),
            ("cpus = nan", "cpus of \"a\""),
            ("max_lifetime_seconds = 5", "max_lifetime_seconds of \"a\""),
            ("idle_seconds = 59", "idle_seconds of \"a\""),
            ("tenants = [\"\"]", "a tenant of \"a\""),
            ("memory = 5", "unknown field"),
        ] {
            let refused = read(&file(entry)).unwrap_err();
            assert!(refused.contains(said), "{entry}: {refused}");
        }
        assert!(read("default = \"a\"\nclass = []\n").unwrap_err().contains("none of the classes"));
    }
}
