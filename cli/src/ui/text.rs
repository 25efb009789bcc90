//! Text as it stands on a terminal: what may be in it, how wide it is, tables, times.

use chrono::{DateTime, TimeDelta, Utc};
use unicode_width::UnicodeWidthChar;

/// Emphasis, where there is a terminal that shows it, and how much of it there is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    pub color: bool,
    /// The terminal's width; none where nobody looks at one.
    pub columns: Option<usize>,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Text that came from elsewhere, in one line, without what would steer a terminal.
pub fn clean(text: &str) -> String {
    let one_line = |c| if matches!(c, '\n' | '\t') { ' ' } else { c };
    text.chars().map(one_line).map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The same with its lines and tabs.
pub fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if steers(c) && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// JSON in which nothing steers a terminal: such characters stand in strings only, and are the same escaped.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // What breaks the lines of JSON stands between its strings.
        if steers(c) && c != '\n' { text.push_str(&format!("\\u{:04x}", u32::from(c))) } else { text.push(c) }
    }
    text
}

/// How many columns the text takes; our own emphasis takes none.
pub fn width(text: &str) -> usize {
    pieces(text).map(|(_, width)| width).sum()
}

/// Characters and, as one piece, escape sequences, each with its width.
fn pieces(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (length, width) = match rest.strip_prefix("\u{1b}[").and_then(|sequence| sequence.find(|c: char| c.is_ascii_alphabetic())) {
            Some(end) => (end + 3, 0),
            None => (first.len_utf8(), first.width().unwrap_or(0)),
        };
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some((piece, width))
    })
}

/// The text, in at most so many columns: what is cut off at its end is replaced by `…`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut left, mut kept, mut full) = (columns.saturating_sub(1), String::new(), false);
    for (piece, width) in pieces(text) {
        // Emphasis ends where it would have ended.
        full |= width > left;
        if width == 0 && piece.starts_with('\u{1b}') || !full {
            kept.push_str(piece);
            left -= width.min(left);
        }
    }
    if columns > 0 {
        let end = if kept.ends_with("\u{1b}[0m") { kept.len() - 4 } else { kept.len() };
        kept.insert(end, '…');
    }
    kept
}

/// The same, cut at its beginning.
pub fn cut_front(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut left, mut kept) = (columns.saturating_sub(1), Vec::new());
    for c in text.chars().rev() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        kept.push(c);
    }
    kept.extend((columns > 0).then_some('…'));
    kept.into_iter().rev().collect()
}

/// Aligned columns under a heading; the last is as wide as it is.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]], style: Style) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    aligned(&heading, &rows, style)
}

pub fn aligned(heading: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let wide = |column: usize| rows.iter().map(|row| width(&row[column])).chain([heading[column].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(wide).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide.saturating_sub(width(cell)))));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(style.bold(&line(heading.to_vec()))).chain(body).collect::<Vec<_>>().join("\n")
}

/// `name  value` a line, the values under one another.
pub fn fields(rows: &[(&str, Option<String>)], style: Style) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, Option<String>)| {
        value.as_ref().map(|value| format!("{}  {}", style.dim(&format!("{name:<width$}")), clean(value)))
    };
    rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// `2026-11-22 10:00:00 UTC`.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `3 min ago`.
pub fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (now - then).max(TimeDelta::zero()) {
        d if d < TimeDelta::seconds(5) => "just now".to_owned(),
        d if d < TimeDelta::minutes(1) => format!("{} s ago", d.num_seconds()),
        d if d < TimeDelta::hours(1) => format!("{} min ago", d.num_minutes()),
        d if d < TimeDelta::days(1) => format!("{} h ago", d.num_hours()),
        d => format!("{} d ago", d.num_days()),
    }
}

/// `20 min`; what is not a whole minute any more in seconds.
pub fn left(until: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (until - now).max(TimeDelta::zero()) {
        d if d < TimeDelta::minutes(1) => format!("{} s", d.num_seconds()),
        d if d < TimeDelta::hours(1) => format!("{} min", d.num_minutes()),
        d if d < TimeDelta::days(1) => format!("{} h", d.num_hours()),
        d => format!("{} d", d.num_days()),
    }
}

/// `1.2 s`, `2 min 05 s`.
pub fn elapsed(time: TimeDelta) -> String {
    let time = time.max(TimeDelta::zero());
    let tenths = time.num_milliseconds() / 100;
    if tenths < 600 { format!("{}.{} s", tenths / 10, tenths % 10) } else { format!("{} min {:02} s", tenths / 600, tenths % 600 / 10) }
}
