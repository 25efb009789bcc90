//! URLs that must be refused when they are accepted or asked for, and those that may be tried and must lead nowhere.

use std::collections::HashSet;

use super::{
    MARK, branches,
    hosts::{ODD_HOSTS, PRIVATE_HOSTS},
};

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Refused at once with this code, and nothing stored.
    Refused(&'static str),
    /// Taken, and the operation fails.
    Fails,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub url: String,
    pub branch: String,
    pub expect: Expect,
}

pub const URL: Expect = Expect::Refused("ERR_INVALID_REPO_URL");
pub const BRANCH: Expect = Expect::Refused("ERR_INVALID_BRANCH");

/// All of it, each pair once.
pub fn all() -> Vec<Case> {
    let mut seen = HashSet::new();
    let bad_urls = [options(), transports(), characters(), look_alikes(), user_infos(), paths(), hosts(), private_literals()].concat();
    let urls = bad_urls.into_iter().map(|url| Case { url, branch: "main".into(), expect: URL });
    let branches = branches::bad().into_iter().map(|branch| Case { url: good(), branch, expect: BRANCH });
    let tried = tried().into_iter().map(|(url, branch)| Case { url, branch, expect: Expect::Fails });
    urls.chain(branches).chain(tried).filter(|case| seen.insert((case.url.clone(), case.branch.clone()))).collect()
}

pub fn good() -> String {
    format!("https://good.test/org/{MARK}.git")
}

fn list(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn options() -> Vec<String> {
    let options = [
        "-u touch",
        "-x",
        "-oProxyCommand=id",
        "--upload-pack=touch /tmp/x",
        "--exec=id",
        "-c core.sshCommand=id",
        "--config=core.fsmonitor=id",
        "--",
    ];
    let mut urls = list(&options);
    for option in options {
        urls.push(format!("{option} https://good.test/r"));
        urls.push(format!("{option}https://good.test/r"));
        urls.push(format!("https://{option}/r"));
        urls.push(format!("ssh://{option}/r"));
        urls.push(format!("ssh://git@{option}/r"));
        urls.push(format!("{option}@good.test:r"));
        urls.push(format!("git@{option}:r"));
        urls.push(format!("git@good.test:{option}"));
        urls.push(format!("https://good.test/{option}"));
        urls.push(format!("https://good.test/o/{option}/r"));
    }
    urls
}

fn transports() -> Vec<String> {
    let mut urls = Vec::new();
    for name in [
        "ext",
        "fd",
        "file",
        "git",
        "http",
        "ftp",
        "ftps",
        "transport",
        "git+ssh",
        "ssh+git",
        "git+https",
        "svn",
        "rsync",
        "gopher",
        "dict",
        "ldap",
        "tftp",
        "data",
        "javascript",
        "unix",
        "telnet",
        "smb",
        "bundle",
        "EXT",
        "Https",
        "hTTPS",
        "SSH",
        "remote-ext",
    ] {
        urls.push(format!("{name}::sh -c id"));
        urls.push(format!("{name}::https://good.test/r"));
        urls.push(format!("{name}://good.test/org/r.git"));
        urls.push(format!("{name}:///etc/passwd"));
    }
    urls.extend(list(&[
        "/etc",
        "./r",
        "../r",
        "~/r",
        "r",
        "C:\\r",
        "\\\\host\\r",
        "//good.test/r",
        "good.test/r",
        "good.test:r",
        "https",
        "https:",
        "https:/",
        "https://",
        "https:good.test/r",
        "https:/good.test/r",
        "https:///good.test/r",
        "https:////good.test/r",
    ]));
    urls
}

/// Newlines, control characters, escapes of terminals, invisible and foreign ones; in the host, in the path, before and after.
fn characters() -> Vec<String> {
    let mut urls = Vec::new();
    let others =
        ['\u{7f}', '\u{85}', '\u{a0}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{feff}', '\u{fffd}', '\u{e9}', '\u{1f600}'];
    for c in ('\u{0}'..='\u{20}').chain(others).chain(['"', '<', '>', '`', '{', '}', '|', '^', '\\']) {
        urls.push(format!("https://good{c}.test/r"));
        urls.push(format!("https://good.test/o{c}/r"));
        urls.push(format!("{c}https://good.test/r"));
        urls.push(format!("https://good.test/r{c}"));
    }
    urls.extend(list(&[
        "https://good.test/r\r\nHost: x",
        "https://good.test/r\n[core]\n\tfsmonitor=id",
        "\u{1b}[2Jhttps://good.test/r",
        "https://good.test/\u{1b}]0;x\u{7}r",
    ]));
    urls
}

fn look_alikes() -> Vec<String> {
    let mut urls = Vec::new();
    for host in [
        "ｇｏｏｄ.test",
        "good。test",
        "good．test",
        "g\u{43e}\u{43e}d.test",
        "ⓛocalhost",
        "localho\u{17f}t",
        "①②⑦.⓪.⓪.①",
        "１２７.0.0.1",
        "１６９.254.169.254",
        "127。0。0。1",
        "good.test\u{202e}",
        "\u{202e}tset.doog",
        "b\u{fc}cher.example",
        "xn--",
        "xn--a",
        "xn--a-.test",
        "xn--\u{fc}.test",
    ] {
        urls.extend([format!("https://{host}/r"), format!("ssh://git@{host}/r"), format!("git@{host}:r")]);
    }
    urls
}

fn user_infos() -> Vec<String> {
    list(&[
        "https://a@b@c/",
        "https://a@b@c/r",
        "https://user@good.test/r",
        "https://user:pw@good.test/r",
        "https://:@good.test/r",
        "https://@good.test/r",
        "https://:pw@good.test/r",
        "https://good.test@127.0.0.1/r",
        "https://good.test:443@10.0.0.5/r",
        "https://good.test%40127.0.0.1/r",
        "https://127.0.0.1%40good.test/r",
        "https://127.0.0.1\\@good.test/r",
        "https://good.test\\@127.0.0.1/r",
        "https://user:p%40w@good.test/r",
        "https://user:%zz@good.test/r",
        "https://%40good.test/r",
        "ssh://a@b@good.test/r",
        "ssh://git:pw@good.test/r",
        "ssh://:@good.test/r",
        "ssh://@good.test/r",
        "a@b@good.test:r",
        "git:pw@good.test:r",
        "@good.test:r",
        "git@:r",
        "git@good.test:",
        "g;id@good.test:r",
        "$(id)@good.test:r",
        "ssh://g%20t@good.test/r",
        "ssh://-l@good.test/r",
        "https://good.test/r?x",
        "https://good.test/r?",
        "https://good.test/r#x",
        "https://good.test/r#",
        "https://good.test?/r",
        "https://good.test#/r",
        "https://good.test#@10.0.0.5/r",
        "https://good.test?@10.0.0.5/r",
        "git@good.test:r?x",
        "ssh://good.test/r#x",
        "https://127.0.0.1#good.test/r",
        "https://127.0.0.1?good.test/r",
        "https://good.test/r?service=git-upload-pack&x=/../",
    ])
}

fn paths() -> Vec<String> {
    let mut urls = Vec::new();
    for path in [
        "..",
        ".",
        "../r",
        "./r",
        "o/..",
        "o/../r",
        "o/./r",
        "o/../../r",
        "%2e%2e/r",
        "o/%2E%2E/r",
        "o/%2e./r",
        ".%2e/r",
        "o%2fr",
        "o%5cr",
        "%00",
        "o%0ar",
        "o%0dr",
        "o%20r",
        "%7f",
        "%",
        "o%",
        "o%2",
        "o%zz",
        "%u002e",
        "o%40r",
        "o%3fr",
        "o%23r",
        "/r",
        "o//r",
        "o/r//",
        "o\\r",
        "o\\..\\r",
        "..\\r",
        "..;/r/../x",
    ] {
        urls.extend([format!("https://good.test/{path}"), format!("ssh://git@good.test/{path}")]);
    }
    urls.retain(|url| !url.contains("..;"));
    urls.extend([
        format!("https://good.test/{}", "a".repeat(4000)),
        format!("git@good.test:{}", "a".repeat(4000)),
        format!("https://good.test/{}", "a/".repeat(2000)),
    ]);
    urls
}

fn hosts() -> Vec<String> {
    let mut urls = Vec::new();
    for host in ODD_HOSTS {
        urls.extend([format!("https://{host}/o/r"), format!("ssh://git@{host}/o/r")]);
    }
    urls.push(format!("https://{}.test/r", "a".repeat(64)));
    urls.push(format!("https://{}test/r", "a.".repeat(130)));
    urls
}

fn private_literals() -> Vec<String> {
    let mut urls = Vec::new();
    for host in PRIVATE_HOSTS {
        urls.extend([format!("https://{host}/o/r"), format!("ssh://git@{host}/o/r"), format!("https://{host}:22/o/r")]);
    }
    urls
}

/// Of good form: only a look at the address, or the remote itself, shows what they are.
fn tried() -> Vec<(String, String)> {
    let mut cases = Vec::new();
    let mut on_main = |url: String| cases.push((url, "main".to_owned()));
    for number in 0..super::dns::HIDDEN.len() {
        on_main(format!("https://p{number}.private.test/org/{MARK}.git"));
    }
    for host in ["mixed.private.test", "hosts4.example", "hosts6.example", "metadata.google.internal", "no-such-name.test"] {
        on_main(format!("https://{host}/org/{MARK}.git"));
    }
    for number in (0..super::dns::HIDDEN.len()).step_by(3) {
        on_main(format!("https://r{number}.rebind.test/org/{MARK}.git"));
    }
    for number in 0..super::remote::targets().len() {
        for status in [301, 307] {
            on_main(format!("https://evil.hostile.test/{MARK}-redirect/{status}/{number}.git"));
        }
    }
    on_main(format!("https://evil.hostile.test/{MARK}-dumb/r.git"));
    on_main(format!("https://evil.hostile.test/{MARK}-endless/r.git"));
    for name in ["$(id)", ";id", "'id'", "&id", "!id", "*", "$IFS", "a=b", "~root", "+x", "(id)", ":id", ",", "%24(id)", "%3Bid"] {
        on_main(format!("https://good.test/org/{MARK}{name}.git"));
    }
    cases.extend(branches::odd().into_iter().map(|branch| (good(), branch)));
    cases
}
