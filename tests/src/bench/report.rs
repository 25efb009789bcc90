//! What a run found: for people as Markdown, for programs as JSON, and as a picture (`plot`).

use std::fmt;

use serde::Serialize;

use super::samples::median;

/// What a ratio has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

/// Alpine next to something else, measured in turn in one run.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    /// Medians of the rounds.
    pub ours: f64,
    pub against: String,
    pub other: f64,
    /// Ours over the other's: the median of the rounds' own ratios.
    pub ratio: f64,
    pub target: Option<Target>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Row {
    /// Of the rounds' pairs: ours and the other's.
    pub fn of_pairs(what: impl Into<String>, unit: &'static str, against: impl Into<String>, pairs: &[(f64, f64)]) -> Self {
        let of = |figure: fn(&(f64, f64)) -> f64| median(pairs.iter().map(figure).collect());
        Self {
            what: what.into(),
            unit,
            ours: of(|(ours, _)| *ours),
            against: against.into(),
            other: of(|(_, other)| *other),
            ratio: of(|(ours, other)| ours / other),
            target: None,
            detail: String::new(),
        }
    }

    /// A figure with a bound of its own: the ratio is the part of the bound that it takes.
    pub fn within(what: impl Into<String>, unit: &'static str, ours: f64, bound: f64) -> Self {
        Self { target: Some(Target::AtMost(1.0)), ..Self::of_pairs(what, unit, "the bound", &[(ours, bound)]) }
    }

    /// Something that there should be none of.
    pub fn none(what: impl Into<String>, ours: f64) -> Self {
        Self { ratio: ours, target: Some(Target::AtMost(0.0)), ..Self::of_pairs(what, "", "none", &[(ours, 0.0)]) }
    }

    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| target.is_met(self.ratio))
    }
}

/// What was measured together, under the same conditions.
#[derive(Debug, Serialize)]
pub struct Section {
    pub name: &'static str,
    /// The conditions, in a sentence.
    pub about: String,
    pub rows: Vec<Row>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n\n{}\n", self.name, self.about)?;
        writeln!(f, "| what | Alpine | next to it | | ratio | wanted | |\n|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let Row { what, unit, against, detail, .. } = row;
            let wanted = row.target.map(|target| target.to_string()).unwrap_or_default();
            let missed = if row.is_met() == Some(false) { " **missed**" } else { "" };
            let (ours, other) = (figure(row.ours), figure(row.other));
            writeln!(f, "| {what} | {ours} {unit} | {against} | {other} {unit} | {:.2} | {wanted}{missed} | {detail} |", row.ratio)?;
        }
        Ok(())
    }
}

/// Three digits that count.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: String,
    pub command: String,
    pub sections: Vec<Section>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; `{}`\n", self.machine, self.command)?;
        for (number, section) in self.sections.iter().enumerate() {
            write!(f, "{}{section}", if number > 0 { "\n" } else { "" })?;
        }
        let all: Vec<bool> = self.sections.iter().flat_map(|section| &section.rows).filter_map(Row::is_met).collect();
        let met = all.iter().filter(|met| **met).count();
        if all.is_empty() { Ok(()) } else { write!(f, "\n{met} of {} targets met", all.len()) }
    }
}
