//! The picture of a report: a bar for each ratio that has a target, on a logarithmic scale, with the target as a line.

use std::fmt::Write as _;

use super::report::{Report, Row, Target};

/// A letter's width, about.
const LETTER: f64 = 6.4;
const WIDTH: f64 = 420.0;
const LINE: f64 = 22.0;
/// Decades on both sides of the target.
const DECADES: f64 = 2.0;

/// Right of the middle is better than wanted, whichever way a ratio is good.
fn place(left: f64, ratio: f64, target: Target) -> f64 {
    let better = match target {
        Target::AtLeast(least) => ratio / least,
        Target::AtMost(most) => most / ratio,
    };
    left + WIDTH * (0.5 + (better.log10() / DECADES).clamp(-1.0, 1.0) / 2.0)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// SVG, by itself.
pub fn svg(report: &Report) -> String {
    let rows: Vec<(&str, &Row, Target)> =
        report.sections.iter().flat_map(|section| section.rows.iter().filter_map(|row| Some((section.name, row, row.target?)))).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let height = LINE * (rows.len() as f64 + 3.0);
    let names: Vec<String> = rows.iter().map(|(section, row, _)| format!("{section}: {} / {}", row.what, row.against)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a few letters")]
    let left = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64 * LETTER + 16.0;
    let (all, middle) = (left + WIDTH + 130.0, left + WIDTH / 2.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{all}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{middle}\" y=\"14\" text-anchor=\"middle\">what was wanted</text>\n\
         <text x=\"{left}\" y=\"14\">100 times worse</text><text x=\"{}\" y=\"14\" text-anchor=\"end\">100 times better</text>\n",
        left + WIDTH
    );
    for (number, ((_, row, target), name)) in rows.iter().zip(&names).enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a few rows")]
        let top = LINE * (number as f64 + 1.3);
        let end = place(left, row.ratio, *target);
        let (x, width) = (end.min(middle), (end - middle).abs().max(1.0));
        let colour = if target.is_met(row.ratio) { "#2a9d8f" } else { "#d1495b" };
        let text = top + 13.0;
        let name = escaped(name);
        let said = escaped(&format!("{:.2} ({target})", row.ratio));
        // Writing to a string does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" \
             fill=\"{colour}\"/><text x=\"{}\" y=\"{text}\">{said}</text>",
            left - 8.0,
            top + 2.0,
            left + WIDTH + 8.0
        );
    }
    let _ = writeln!(svg, "<line x1=\"{middle}\" y1=\"20\" x2=\"{middle}\" y2=\"{:.0}\" stroke=\"black\"/>\n</svg>", height - LINE);
    svg
}
