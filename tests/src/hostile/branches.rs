//! Branch names: those that must be refused, those that are odd and allowed, and many that lie between.

use super::MARK;

/// Refused by git itself or, for those that deceive the eye or are too long, by us alone.
pub fn bad() -> Vec<String> {
    let mut names: Vec<String> = [
        "-x",
        "--",
        "-",
        "--upload-pack=touch /tmp/x",
        "--exec=id",
        "-c",
        "-oProxyCommand=id",
        "--all",
        "--output=/tmp/x",
        "bad branch",
        " ",
        "a ",
        " a",
        "..",
        "a..b",
        "../main",
        "a/../b",
        "main..",
        ".a",
        "a/.b",
        "a.",
        "a/",
        "/a",
        "a//b",
        "a.lock",
        "a.lock/b",
        "a/b.lock",
        "@",
        "a@{b",
        "a@{-1}",
        "@{-1}",
        "@{u}",
        "HEAD",
        "a~1",
        "a^",
        "a^{commit}",
        "main:path",
        ":main",
        "+main:other",
        "a?b",
        "a*",
        "*",
        "refs/heads/*",
        "a[b",
        "[a]",
        "a\\b",
        "\\",
        ".",
        ".lock",
    ]
    .map(str::to_owned)
    .to_vec();
    let deceiving = [
        '\u{85}', '\u{9b}', '\u{61c}', '\u{200b}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}', '\u{2066}',
        '\u{2069}', '\u{feff}',
    ];
    for c in ('\u{0}'..='\u{20}').chain(['\u{7f}']).chain(deceiving) {
        names.push(format!("a{c}b"));
        names.push(format!("main{c}"));
    }
    names.push("a".repeat(256));
    names.push("\u{1b}[2Jmain".to_owned());
    names.push("main\nrefs/heads/other".to_owned());
    names
}

/// Names that git takes and a shell, a format or an eye might not read as they are.
pub fn odd() -> Vec<String> {
    let names = [
        "refs/heads/main",
        "heads/main",
        "$(id)",
        "`id`",
        ";id",
        "&&id",
        "|id",
        "'id'",
        "\"id\"",
        "$IFS",
        "{a,b}",
        ">x",
        "<x",
        "%s%n",
        "%0a",
        "#x",
        "!x",
        "=x",
        "a@b",
        "@x",
        "é",
        "ｍａｉｎ",
        "m\u{430}in",
        "HEAD/x",
        "main/x",
        "-",
        "x--upload-pack=id",
        "(id)",
        "a,b",
        "\u{1f600}",
    ];
    names
        .iter()
        .map(|name| format!("{MARK}{name}"))
        .chain(["refs/heads/main".to_owned(), "heads/main".to_owned(), "MAIN".to_owned()])
        .collect()
}

/// Pieces whose every arrangement is tried on git and on us.
pub const PIECES: &[&str] =
    &["a", "-", ".", "/", "@", "{", "}", "..", ".lock", "HEAD", "~", ":", " ", "\\", "*", "[", "é", "\u{7f}", "@{", "refs/heads/"];

/// Every arrangement of up to three pieces.
pub fn arrangements() -> Vec<String> {
    let mut names = Vec::new();
    for a in PIECES {
        names.push((*a).to_owned());
        for b in PIECES {
            names.push(format!("{a}{b}"));
            for c in PIECES {
                names.push(format!("{a}{b}{c}"));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}
