use proptest::prelude::*;

use super::{
    super::redact::Redactor,
    backlog::{Backlog, PIECE_LIMIT},
    digest::Digest,
    lines::{LINE_LIMIT, Line, Lines},
    *,
};

fn split(chunks: &[&[u8]]) -> Vec<Line> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for chunk in chunks {
        lines.push(chunk, |line| found.push(line));
    }
    found.extend(lines.end());
    found
}

fn cleaned(lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| line.clean(&Redactor::default())).collect()
}

/// What a terminal is sent: words, ends of lines, escapes, bytes of anything.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => "[a-z ]{0,12}".prop_map(String::into_bytes),
        3 => prop_oneof![Just("\n"), Just("\r"), Just("\r\n")].prop_map(|end| end.as_bytes().to_vec()),
        1 => prop_oneof![Just("\x1b[31m"), Just("\x1b[K"), Just("\x1b]0;title\x07"), Just("\x1b"), Just("\x1b]8;;✜")].prop_map(|e| e.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => (1..3 * LINE_LIMIT).prop_map(|length| vec![b'x'; length]),
    ];
    proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

/// The bytes in chunks of these sizes.
fn chunks<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let (mut rest, mut chunks) = (bytes, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, more) = rest.split_at((*size).min(rest.len()));
        chunks.push(chunk);
        rest = more;
    }
    chunks
}

proptest! {
    #[test]
    fn the_same_lines_come_out_however_the_bytes_come_in(bytes in output(), sizes in proptest::collection::vec(1_usize..200, 1..20)) {
        prop_assert_eq!(split(&[&bytes]), split(&chunks(&bytes, &sizes)));
    }

    #[test]
    fn no_line_holds_a_control_character_and_none_is_long(bytes in output()) {
        for text in cleaned(&split(&[&bytes])) {
            prop_assert!(text.chars().all(|c| !c.is_control() || c == '\t'), "{text:?}");
            prop_assert!(text.len() < PIECE_LIMIT, "{}", text.len());
        }
    }

    #[test]
    fn pieces_are_bounded_hold_whole_lines_and_all_of_what_fits(bytes in output(), sizes in proptest::collection::vec(1_usize..9000, 1..9)) {
        let mut digest = Digest::new(LogSource::Install, None);
        chunks(&bytes, &sizes).into_iter().for_each(|chunk| digest.take_in(&Output::Stderr(chunk.to_vec())));
        digest.end();
        let pieces = digest.take_log();
        prop_assert!(pieces.iter().all(|piece| piece.len() <= PIECE_LIMIT && piece.ends_with('\n')));
        let all: Vec<String> = cleaned(&split(&[&bytes]));
        if all.iter().map(|line| line.len() + 1).sum::<usize>() < 32 * 1024 && bytes.len() < 32 * 1024 {
            let text = pieces.concat();
            prop_assert_eq!(text.split_terminator('\n').collect::<Vec<_>>(), all);
        }
        prop_assert!(!digest.has_log());
    }

    #[test]
    fn a_token_never_comes_out_wherever_it_is_cut(
        before in output(), cut in 0_usize..40, every in 1_usize..12, sizes in proptest::collection::vec(1_usize..9, 1..20),
        between in prop_oneof![Just("\x1b[31m"), Just("\u{1}"), Just("\x1b]0;x\x07"), Just("\u{9b}")],
    ) {
        const TOKEN: &str = "ghp_s3cretS3cretS3cretS3cretS3cret12";
        // As it is, and in small parts with something between them that is not shown.
        let parted = TOKEN.as_bytes().chunks(every).map(|part| std::str::from_utf8(part).unwrap()).collect::<Vec<_>>().join(between);
        let mut bytes = before;
        bytes.truncate(bytes.len().saturating_sub(cut));
        bytes.extend_from_slice(format!("fatal: {TOKEN} and {parted}\nfatal: {parted}\n").as_bytes());
        for source in [LogSource::Install, LogSource::Git] {
            let mut digest = Digest::new(source, Some(&TOKEN.into()));
            chunks(&bytes, &sizes).into_iter().for_each(|chunk| digest.take_in(&Output::Stdout(chunk.to_vec())));
            digest.end();
            let shown = digest.take_progress().map(|progress| progress.message).unwrap_or_default() + &digest.take_log().concat();
            for part in TOKEN.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                prop_assert!(!shown.contains(part), "{part} in {shown}");
            }
        }
    }
}

fn backlog(lines: impl IntoIterator<Item = String>) -> Backlog {
    let mut backlog = Backlog::default();
    lines.into_iter().for_each(|line| backlog.push(line.into()));
    backlog
}

#[test]
fn of_too_much_the_middle_is_left_out_and_counted() {
    let lines = (0..100_000).map(|n| format!("line {n}")).collect::<Vec<_>>();
    let mut long = backlog(lines.clone());
    let text = long.take(&Redactor::default()).concat();
    assert!(text.len() < 66 * 1024, "{}", text.len());
    assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 99998\nline 99999\n"));
    let note = text.lines().find(|line| line.starts_with("[... ")).unwrap();
    let kept: usize = text.lines().filter(|line| *line != note).map(|line| line.len() + 1).sum();
    let all: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert_eq!(note, left_out(u64::try_from(all - kept).unwrap()));
    assert_eq!(long.take(&Redactor::default()), Vec::<String>::new());
}

#[test]
fn what_could_not_be_written_is_told_with_what_comes_next() {
    let mut late = backlog(["one".to_owned()]);
    let pieces = late.take(&Redactor::default());
    late.lost(&pieces);
    assert!(late.is_empty(), "nothing new, nothing to write");
    late.push("two".to_owned().into());
    assert_eq!(late.take(&Redactor::default()), ["[... 4 bytes left out ...]\ntwo\n"]);
}

#[test]
fn the_last_line_that_says_something_is_an_installers_progress() {
    let mut digest = Digest::new(LogSource::Install, None);
    digest.take_in(&Output::Stdout(b"one\ntw".to_vec()));
    digest.take_in(&Output::Stderr(format!("\t{}\r\n\x1b[0m \n\n", "w".repeat(300)).into_bytes()));
    let told = digest.take_progress().unwrap();
    assert_eq!((told.message.len(), told.percent), (200, None), "of the line with words, the beginning");
    digest.take_in(&Output::Stdout(b"o".to_vec()));
    assert_eq!(digest.take_progress(), None, "a line that has not ended is none yet");
    digest.end();
    assert_eq!(digest.take_progress().unwrap().message, "two");
    assert_eq!(digest.take_log().concat(), format!("one\n\t{}\n\n\ntwo\n", "w".repeat(300)));
}

#[test]
fn of_git_only_its_own_numbers_are_told() {
    let mut digest = Digest::new(LogSource::Git, None);
    let said = "remote: Counting objects: 50% (1/2)\rremote: s3cret\nReceiving objects:  50% (1/2)\rReceiving objects: 100% (2/2), 1 KiB, done.\nFrom h";
    digest.take_in(&Output::Stderr(said.as_bytes().to_vec()));
    digest.end();
    assert_eq!(digest.take_progress(), Some(Progress { message: "Receiving objects: 100% (2/2)".into(), percent: Some(100) }));
    assert_eq!(digest.take_log().concat(), "Receiving objects: 100% (2/2), done.\n");
}
