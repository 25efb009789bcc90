//! `docs/cli.md` shows what the program says.

use crate::modes::normalised;

/// The captures of the page: their names and what stands in them.
fn captures(page: &str) -> Vec<(String, String)> {
    let parts = page.split("<!-- capture: ").skip(1);
    let capture = |part: &str| {
        let (name, rest) = part.split_once(" -->").expect("a name");
        let text = rest.split_once("```text\n").and_then(|(_, text)| text.split_once("```")).expect("a block").0;
        (name.to_owned(), text.to_owned())
    };
    parts.map(capture).collect()
}

#[test]
fn the_captures_of_the_page_are_what_the_program_says() {
    let root = alpine_tests::bins::root();
    let page = std::fs::read_to_string(root.join("docs/cli.md")).unwrap();
    let captures = captures(&page);
    let names: Vec<&str> = captures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["up", "up_failing_to_install", "list", "status", "down"]);
    for (name, text) in &captures {
        let snapshot = std::fs::read_to_string(root.join(format!("tests/tests/cli_snapshots/snapshots/{name}.snap"))).unwrap();
        let said = snapshot.splitn(3, "---\n").nth(2).unwrap().split("\n--- without a terminal").next().unwrap();
        let hint = format!("take it anew from target/tmp/captures/{name}.txt, which the snapshot tests write");
        assert_eq!(normalised(text).trim_end(), said.trim_end(), "{name}: {hint}");
    }
}
