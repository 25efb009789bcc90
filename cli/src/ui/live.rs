//! The lines at the bottom of a terminal that are written over as things go on.

use super::text::{cut, width};

/// What of it is on the screen, so that it can be taken off again.
#[derive(Debug, Default)]
pub struct Live {
    lines: Vec<String>,
    /// How wide each line on the screen is.
    painted: Vec<usize>,
}

impl Live {
    /// These lines from now on, whatever stood there before; what to write for it.
    pub fn show(&mut self, lines: Vec<String>, columns: usize) -> String {
        let mut text = self.take_off(columns);
        self.lines = lines;
        text.push_str(&self.paint(columns));
        text
    }

    /// Text that stays, above the lines; what to write for it.
    pub fn above(&mut self, said: &str, columns: usize) -> String {
        if self.painted.is_empty() {
            return said.to_owned();
        }
        let mut text = self.take_off(columns);
        text.push_str(said);
        text.push_str(&self.paint(columns));
        text
    }

    /// The cursor is below the last line. A line that was painted on a wider terminal stands there in as many rows as it
    /// takes now.
    fn take_off(&mut self, columns: usize) -> String {
        let rows: usize = self.painted.drain(..).map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        if rows == 0 { String::new() } else { format!("\r\u{1b}[{rows}A\u{1b}[J") }
    }

    /// The last column stays free: what fills it would wrap.
    fn paint(&mut self, columns: usize) -> String {
        let room = columns.saturating_sub(1);
        let mut text = String::new();
        for line in &self.lines {
            let line = cut(line, room);
            self.painted.push(width(&line));
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal emulator that shows what was written so far.
    struct Screen(vt100::Parser);

    impl Screen {
        fn new(columns: u16) -> Self {
            let size = |n| std::num::NonZero::new(n).unwrap();
            Self(vt100::Parser::new(size(20), size(columns), 100))
        }

        fn see(&mut self, text: &str) -> Vec<String> {
            self.0.process(text.replace('\n', "\r\n").as_bytes());
            let contents = self.0.screen().contents();
            contents.lines().map(str::to_owned).collect()
        }
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_are_written_over_and_what_is_said_stays_above_them() {
        for columns in [40, 200] {
            let (mut screen, mut live) = (Screen::new(columns), Live::default());
            let columns = usize::from(columns);
            let long = "x".repeat(300);
            screen.see("before\n");
            let seen = screen.see(&live.show(lines(&["one 1 s", &long]), columns));
            assert_eq!((seen[0].as_str(), seen[1].as_str(), seen.len()), ("before", "one 1 s", 3));
            assert_eq!(seen[2].chars().count(), columns - 1, "the last column is free");
            assert_eq!(screen.see(&live.show(lines(&["one 2 s"]), columns)), ["before", "one 2 s"]);
            assert_eq!(screen.see(&live.above("said\n", columns)), ["before", "said", "one 2 s"]);
            assert_eq!(screen.see(&live.show(lines(&["one 3 s", "detail"]), columns)), ["before", "said", "one 3 s", "detail"]);
            assert_eq!(screen.see(&live.show(Vec::new(), columns)), ["before", "said"]);
            assert_eq!(live.above("plain\n", columns), "plain\n");
        }
    }

    #[test]
    fn wide_letters_and_colours_are_measured_as_they_show() {
        let (mut screen, mut live) = (Screen::new(20), Live::default());
        let painted = live.show(lines(&["\u{1b}[1m漢字漢字漢字漢字漢字漢字\u{1b}[0m"]), 20);
        assert_eq!(screen.see(&painted).len(), 1, "it does not wrap");
        assert_eq!(screen.see(&live.show(lines(&["b"]), 20)), ["b"]);
    }

    /// Terminals break a line anew that no longer fits.
    fn rewrapped(rows: &[String], columns: usize) -> String {
        let parts = |row: &String| {
            let letters: Vec<char> = row.chars().collect();
            let rows: Vec<String> = letters.chunks(columns).map(|part| part.iter().collect()).collect();
            if rows.is_empty() { vec![String::new()] } else { rows }
        };
        rows.iter().flat_map(parts).map(|row| format!("{row}\n")).collect()
    }

    #[test]
    fn a_terminal_that_is_made_narrower_or_wider_in_the_middle_shows_no_torn_lines() {
        let mut live = Live::default();
        let wide = lines(&[&"a".repeat(150), &"b".repeat(90)]);
        let mut screen = Screen::new(200);
        let seen = screen.see(&format!("before\n{}", live.show(wide.clone(), 200)));
        let mut narrow = Screen::new(40);
        narrow.see(&rewrapped(&seen, 40));
        let seen = narrow.see(&live.show(wide.clone(), 40));
        assert_eq!((seen.len(), seen[0].as_str()), (3, "before"), "{seen:?}");
        assert!(seen[1].starts_with('a') && seen[2].starts_with('b'), "{seen:?}");
        let mut wider = Screen::new(200);
        wider.see(&rewrapped(&seen, 200));
        let seen = wider.see(&live.show(wide, 200));
        assert_eq!((seen.len(), seen[1].len(), seen[2].len()), (3, 150, 90), "{seen:?}");
    }
}
