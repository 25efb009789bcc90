//! What is looked for: every secret as it is, halved, and in the encodings that programs write; and what is no
//! secret and must be found in the same way, or the search is worth nothing.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use base64::Engine as _;

/// A secret that has no business anywhere but where it is used, or a mark that has.
#[derive(Debug, Clone)]
struct Kind {
    name: String,
    is_mark: bool,
}

/// All kinds so far.
#[derive(Debug, Default)]
pub struct Kinds {
    kinds: Vec<Kind>,
    needles: Vec<(usize, String, Vec<u8>)>,
}

/// One secret, found.
#[derive(Debug, Clone)]
pub struct Hit {
    pub kind: String,
    pub form: String,
    /// What stands around it.
    pub around: String,
}

/// 32 characters that nobody else writes.
pub fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Kinds {
    /// A new random secret; `name` tells what it is.
    pub fn secret(&mut self, name: &str) -> String {
        let text = random();
        self.add(name, text.as_bytes());
        text
    }

    /// A secret that others have made.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 16, "{name} is too short to be told from other things");
        self.insert(name, false, forms(secret));
    }

    /// What must be found where it is looked for.
    pub fn mark(&mut self, name: &str, text: &str) {
        self.insert(name, true, vec![("plain".to_owned(), text.as_bytes().to_vec())]);
    }

    fn insert(&mut self, name: &str, is_mark: bool, forms: Vec<(String, Vec<u8>)>) {
        let at = self.kinds.len();
        self.kinds.push(Kind { name: name.to_owned(), is_mark });
        self.needles.extend(forms.into_iter().map(|(form, bytes)| (at, form, bytes)));
    }

    /// The names of the secrets, in the order in which they came.
    pub fn secrets(&self) -> Vec<&str> {
        self.kinds.iter().filter(|kind| !kind.is_mark).map(|kind| kind.name.as_str()).collect()
    }

    pub fn search(&self) -> Search<'_> {
        let patterns = self.needles.iter().map(|(_, _, bytes)| bytes);
        let machine = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(patterns).unwrap();
        Search { kinds: self, machine }
    }
}

/// All of it at once.
#[derive(Debug)]
pub struct Search<'k> {
    kinds: &'k Kinds,
    machine: AhoCorasick,
}

impl Search<'_> {
    /// The secrets that are there, and the names of the marks.
    pub fn within(&self, text: &[u8]) -> (Vec<Hit>, Vec<String>) {
        let (mut hits, mut marks) = (Vec::new(), Vec::new());
        for found in self.machine.find_overlapping_iter(text) {
            let (at, form, _) = &self.kinds.needles[found.pattern().as_usize()];
            let kind = &self.kinds.kinds[*at];
            if !kind.is_mark {
                let (from, to) = (found.start().saturating_sub(200), (found.end() + 100).min(text.len()));
                let around = String::from_utf8_lossy(&text[from..to]).replace('\0', " ");
                hits.push(Hit { kind: kind.name.clone(), form: form.clone(), around });
            } else if !marks.contains(&kind.name) {
                marks.push(kind.name.clone());
            }
        }
        (hits, marks)
    }
}

/// As it is, its halves, and how programs would write it elsewhere.
pub fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let each = |write: &dyn Fn(u8) -> String, between: &str| secret.iter().map(|byte| write(*byte)).collect::<Vec<_>>().join(between);
    let (first, second) = secret.split_at(secret.len() / 2);
    let mut forms = vec![
        ("plain".to_owned(), secret.to_vec()),
        ("its first half".to_owned(), first.to_vec()),
        ("its second half".to_owned(), second.to_vec()),
        ("hexadecimal".to_owned(), each(&|byte| format!("{byte:02x}"), "").into_bytes()),
        ("percent-encoded".to_owned(), each(&|byte| format!("%{byte:02x}"), "").into_bytes()),
        ("escaped for JSON".to_owned(), each(&|byte| format!("\\u{byte:04x}"), "").into_bytes()),
        ("a list of numbers".to_owned(), each(&|byte| byte.to_string(), ", ").into_bytes()),
        ("a JSON list of numbers".to_owned(), each(&|byte| byte.to_string(), ",").into_bytes()),
    ];
    // Wherever in a longer text it stands: three ways, without the characters that its neighbours have a part in.
    for before in 0..3 {
        let padded = [&vec![0; before][..], secret].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        let standard = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded)[from..to].to_owned();
        let for_urls = standard.replace('+', "-").replace('/', "_");
        forms.push((format!("base64 after {before} more"), standard.into_bytes()));
        forms.push((format!("base64url after {before} more"), for_urls.into_bytes()));
    }
    forms
}

#[test]
fn a_secret_is_found_in_every_form_and_nothing_else_is() {
    let mut kinds = Kinds::default();
    let secret = kinds.secret("a secret");
    kinds.mark("a mark", "mark-of-the-test");
    let search = kinds.search();
    let standard = base64::engine::general_purpose::STANDARD;
    let url = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let bytes = secret.as_bytes();
    let written = [
        secret.clone(),
        secret.to_uppercase(),
        format!("{{\"token\":\"{secret}\"}}"),
        url,
        secret[..16].to_owned(),
        secret[16..].to_owned(),
        standard.encode(bytes),
        standard.encode(format!("x-access-token:{secret}")),
        standard.encode(format!("u:{secret}@")),
        standard.encode(format!("me:{secret}")),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"a\":\"{secret}\"}}")),
        format!("{bytes:?}"),
        serde_json::to_string(bytes).unwrap(),
        bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        bytes.iter().map(|byte| format!("%{byte:02X}")).collect(),
        bytes.iter().map(|byte| format!("\\u{byte:04x}")).collect(),
    ];
    for text in &written {
        assert!(!search.within(text.as_bytes()).0.is_empty(), "not found: {text}");
    }
    let other = random();
    for text in [other.clone(), standard.encode(&other), secret[..15].to_owned(), format!("{:?}", other.as_bytes())] {
        assert!(search.within(text.as_bytes()).0.is_empty(), "found in {text}");
    }
    assert_eq!(search.within(b"...mark-of-the-test...").1, ["a mark"]);
}
