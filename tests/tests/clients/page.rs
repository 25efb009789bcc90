//! docs/clients.md shows what is run here.

use std::fs;

use alpine_tests::bins;

/// What a file has between its `docs` marks, each part as if nothing stood around it.
fn shown(file: &str) -> String {
    let source = fs::read_to_string(bins::root().join("tests/clients").join(file)).unwrap();
    let (mut lines, mut indent) = (Vec::new(), None);
    for line in source.lines() {
        match line.trim_start().trim_start_matches(['/', '#', ' ']) {
            "docs: begin" => indent = Some(line.len() - line.trim_start().len()),
            "docs: end" => indent = None,
            _ => lines.extend(indent.map(|indent| line.get(indent..).unwrap_or_default())),
        }
    }
    assert!(!lines.is_empty(), "{file} shows nothing");
    lines.join("\n")
}

#[test]
fn the_page_on_clients_shows_the_code_that_is_run_here_and_no_other() {
    let page = fs::read_to_string(bins::root().join("docs/clients.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).map(|(_, code)| code).collect();
    let sources = [("typescript", "ts"), ("python", "py"), ("rust", "rs"), ("go", "go")];
    let files = sources.iter().flat_map(|(language, ending)| [format!("{language}/generate.sh"), format!("{language}/main.{ending}")]);
    let run: Vec<String> = files.map(|file| shown(&file)).collect();
    for code in &run {
        assert!(blocks.contains(&code.as_str()), "docs/clients.md lacks:\n{code}");
    }
    for block in blocks {
        assert!(run.iter().any(|code| code == block), "docs/clients.md shows what nothing runs:\n{block}");
    }
}
