//! The list as it fits a terminal.

use chrono::{DateTime, Utc};

use super::{Row, Rows};
use crate::ui::{Style, ago, aligned, clean, cut, cut_front, width};

/// Between columns.
const GAP: usize = 2;
/// A column that is cut keeps at least so much.
const LEAST: usize = 8;

struct Column {
    heading: &'static str,
    cell: fn(&Row, DateTime<Utc>) -> String,
    shrink: Option<fn(&str, usize) -> String>,
}

const SESSION: Column = Column { heading: "SESSION", cell: |row, _| row.session_id.to_string(), shrink: None };
const STATE: Column = Column { heading: "STATE", cell: |row, _| row.state.to_string(), shrink: None };
const UPDATED: Column = Column { heading: "UPDATED", cell: |row, now| ago(row.updated_at, now), shrink: None };
const BRANCH: Column = Column { heading: "BRANCH", cell: |row, _| row.branch.clone(), shrink: Some(cut) };
/// The end of an address says more than its beginning.
const REPOSITORY: Column = Column { heading: "REPOSITORY", cell: |row, _| row.repo_url.clone(), shrink: Some(shortened) };
const OWNER: Column = Column { heading: "OWNER", cell: |row, _| row.owner_principal_id.clone(), shrink: Some(cut) };
const URL: Column = Column { heading: "URL", cell: |row, _| row.opencode_url.clone().unwrap_or_default(), shrink: None };

/// What most addresses share goes first.
fn shortened(url: &str, columns: usize) -> String {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    cut_front(rest.strip_suffix(".git").unwrap_or(rest), columns)
}

pub fn table(rows: &Rows, style: Style, now: DateTime<Utc>) -> String {
    let owners = rows.owners || rows.wide;
    let usual = || [SESSION, STATE, UPDATED, BRANCH, REPOSITORY].into_iter().chain(owners.then_some(OWNER));
    let cells = |columns: &[Column]| -> Vec<Vec<String>> {
        rows.rows.iter().map(|row| columns.iter().map(|column| clean(&(column.cell)(row, now))).collect()).collect()
    };
    let with_urls: Vec<Column> = usual().chain([URL]).collect();
    let room = style.columns.unwrap_or(usize::MAX);
    let full = cells(&with_urls);
    // URLs are shown where there is room for all of it.
    if rows.wide || style.columns.is_some() && total(&widths(&with_urls, &full)) <= room {
        return aligned(&headings(&with_urls), &full, style);
    }
    let columns: Vec<Column> = usual().collect();
    let mut table = cells(&columns);
    let widths = widths(&columns, &table);
    match fit(&columns, widths.clone(), room) {
        Some(fitting) => {
            shrink(&columns, &mut table, &widths, &fitting);
            aligned(&headings(&columns), &table, style)
        }
        None => stacked(&table, style, room),
    }
}

fn headings(columns: &[Column]) -> Vec<&'static str> {
    columns.iter().map(|column| column.heading).collect()
}

fn widths(columns: &[Column], cells: &[Vec<String>]) -> Vec<usize> {
    let widest = |n: usize| cells.iter().map(|row| width(&row[n])).chain([columns[n].heading.len()]).max().unwrap_or(0);
    (0..columns.len()).map(widest).collect()
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Widths that fit, the widest column giving first; none where not even the least does.
fn fit(columns: &[Column], mut widths: Vec<usize>, room: usize) -> Option<Vec<usize>> {
    while total(&widths) > room {
        let gives = |n: &usize| columns[*n].shrink.is_some() && widths[*n] > LEAST.max(columns[*n].heading.len());
        let widest = (0..columns.len()).filter(gives).max_by_key(|n| widths[*n])?;
        widths[widest] -= 1;
    }
    Some(widths)
}

fn shrink(columns: &[Column], cells: &mut [Vec<String>], widths: &[usize], fitting: &[usize]) {
    for (n, column) in columns.iter().enumerate() {
        if let Some(shrink) = column.shrink.filter(|_| fitting[n] < widths[n]) {
            cells.iter_mut().for_each(|row| row[n] = shrink(&row[n], fitting[n]));
        }
    }
}

/// Where a row does not fit into a line: the id in one, what is known of it in the next.
fn stacked(cells: &[Vec<String>], style: Style, room: usize) -> String {
    let two = |row: &Vec<String>| {
        let rest = row[1..].iter().filter(|cell| !cell.is_empty()).map(String::as_str).collect::<Vec<_>>().join("  ");
        format!("{}\n  {}", style.bold(&row[0]), cut(&rest, room.saturating_sub(2)))
    };
    cells.iter().map(two).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::rows, *};
    use crate::testing::at;

    #[test]
    fn the_table_fits_the_terminal_and_every_id_is_whole() {
        let mut seen = String::new();
        for columns in [40, 80, 100, 120, 200] {
            for owners in [false, true] {
                let style = Style { columns: Some(columns), ..Style::default() };
                let table = table(&rows(owners), style, at("2026-11-22T12:00:00Z"));
                let widest = table.lines().map(width).max().unwrap();
                assert!(widest <= columns, "{widest} of {columns}:\n{table}");
                for row in rows(owners).rows {
                    assert!(table.contains(&row.session_id.to_string()), "{columns}:\n{table}");
                }
                seen.push_str(&format!("{columns} columns{}\n{table}\n\n", if owners { ", owners" } else { "" }));
            }
        }
        insta::assert_snapshot!("list_by_width", seen);
    }
}
