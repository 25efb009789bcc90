//! What the served program has written: a file that is cut to its end when it is long, and how much of all that was ever
//! written has gone from its beginning. With that every byte keeps its number, also across restarts of the server.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
};

use rustix::fs::OFlags;

use super::{flock::Held, layout::Sandbox};
use crate::sandbox::ServedOutput;

/// The file is cut when it is longer, to its last part.
const LOG_MAX: u64 = 10 * 1024 * 1024;
const LOG_KEPT: u64 = 1024 * 1024;

impl Sandbox {
    /// For appending: a program that has it open goes on writing at the end when the file is cut.
    pub fn open_log(&self) -> io::Result<File> {
        self.trim_log()?;
        options().create(true).append(true).mode(0o600).open(self.log())
    }

    /// Cut the file if it is too long, unless another is about to.
    pub fn trim_log(&self) -> io::Result<()> {
        let Some(file) = found(options().read(true).write(true).open(self.log()))? else { return Ok(()) };
        if file.metadata()?.len() <= LOG_MAX {
            return Ok(());
        }
        let Some(beginning) = self.lock_beginning()? else { return Ok(()) };
        let length = file.metadata()?.len();
        if length > LOG_MAX {
            let gone = cut(&file, length)?;
            write_number(&beginning, read_number(&beginning)?.saturating_add(gone))?;
        }
        Ok(())
    }

    /// The last bytes, as text.
    pub fn log_tail(&self, limit: usize) -> io::Result<String> {
        let Some(file) = found(options().read(true).open(self.log()))? else { return Ok(String::new()) };
        let from = file.metadata()?.len().saturating_sub(limit.try_into().unwrap_or(u64::MAX));
        Ok(String::from_utf8_lossy(&read(&file, from, limit)?).into_owned())
    }

    /// How much was ever written. While the file is cut it may be wrong.
    pub fn log_length(&self) -> io::Result<u64> {
        let Some(file) = found(options().read(true).open(self.log()))? else { return Ok(0) };
        let beginning = found(options().read(true).open(self.beginning()))?;
        let first = beginning.map_or(Ok(0), |file| read_number(&file))?;
        Ok(first.saturating_add(file.metadata()?.len()))
    }

    /// From byte `from` of all that was ever written, or from the first that is still there.
    pub fn log_part(&self, from: u64, limit: usize) -> io::Result<ServedOutput> {
        let Some(file) = found(options().read(true).open(self.log()))? else { return Ok(ServedOutput::default()) };
        let busy = || io::Error::new(ErrorKind::WouldBlock, "served.log is being cut");
        let beginning = self.lock_beginning()?.ok_or_else(busy)?;
        let first = read_number(&beginning)?;
        let length = first.saturating_add(file.metadata()?.len());
        let from = from.clamp(first, length);
        Ok(ServedOutput { from, bytes: read(&file, from - first, limit)?, length })
    }

    /// Held by whoever cuts the file or must know that nobody does. Never for long, but its holder may be frozen.
    fn lock_beginning(&self) -> io::Result<Option<Held>> {
        let file = options().create(true).truncate(false).read(true).write(true).mode(0o600).open(self.beginning())?;
        Ok(Held::try_lock(file))
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default());
    options
}

fn found<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The end moves to the beginning; how many bytes are gone. Who writes meanwhile writes after the end, and is followed
/// until the file is shortened: what comes between the last look and that is lost.
fn cut(file: &File, length: u64) -> io::Result<u64> {
    let gone = length - LOG_KEPT;
    let (mut copied, mut length) = (gone, length);
    let mut buffer = vec![0; 64 * 1024];
    // A program that writes faster than this reads is not followed to the end of time.
    let enough = length + LOG_KEPT;
    loop {
        while copied < length {
            let size = buffer.len().min(usize::try_from(length - copied).unwrap_or(usize::MAX));
            file.read_exact_at(&mut buffer[..size], copied)?;
            file.write_all_at(&buffer[..size], copied - gone)?;
            copied += u64::try_from(size).unwrap_or_default();
        }
        length = file.metadata()?.len();
        if copied >= length.min(enough) {
            break;
        }
    }
    file.set_len(copied - gone)?;
    Ok(gone)
}

fn read(file: &File, from: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let mut length = 0;
    while length < limit {
        match file.read_at(&mut bytes[length..], from + u64::try_from(length).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Of one length always, so that one write replaces all of it.
fn write_number(file: &File, number: u64) -> io::Result<()> {
    file.write_all_at(format!("{number:020}\n").as_bytes(), 0)
}

fn read_number(file: &File) -> io::Result<u64> {
    let text = read(file, 0, 21)?;
    Ok(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn sandbox() -> (tempfile::TempDir, Sandbox) {
        let root = tempfile::tempdir().unwrap();
        let sandbox = Sandbox { dir: root.path().to_owned() };
        (root, sandbox)
    }

    #[test]
    fn a_log_that_grew_too_long_keeps_its_end_and_its_writer_goes_on() {
        let (_root, sandbox) = sandbox();
        let mut writer = sandbox.open_log().unwrap();
        writer.write_all(&vec![b'x'; 11 * 1024 * 1024]).unwrap();
        writer.write_all(b"the end").unwrap();
        sandbox.trim_log().unwrap();
        writer.write_all(b", and more").unwrap();
        assert_eq!(std::fs::metadata(sandbox.log()).unwrap().len(), LOG_KEPT + 10);
        assert_eq!(sandbox.log_tail(17).unwrap(), "the end, and more");
    }

    #[test]
    fn every_byte_keeps_its_number_when_the_log_is_cut() {
        let (_root, sandbox) = sandbox();
        assert_eq!((sandbox.log_length().unwrap(), sandbox.log_part(7, 9).unwrap()), (0, ServedOutput::default()));
        let mut writer = sandbox.open_log().unwrap();
        let mut written = Vec::new();
        for round in 0..3_u32 {
            let lines: Vec<u8> = (0..900_000).flat_map(|n| format!("{round} {n:08}\n").into_bytes()).collect();
            writer.write_all(&lines).unwrap();
            written.extend(lines);
            let at = u64::try_from(written.len() - 5_000).unwrap();
            for _ in 0..2 {
                assert_eq!(sandbox.log_length().unwrap(), u64::try_from(written.len()).unwrap());
                let part = sandbox.log_part(at, 3_000).unwrap();
                assert_eq!((part.from, part.length), (at, u64::try_from(written.len()).unwrap()));
                assert!(part.bytes == written[written.len() - 5_000..][..3_000], "round {round}");
                // A second sandbox on the same folder: a restarted server.
                Sandbox { dir: sandbox.dir.clone() }.trim_log().unwrap();
            }
        }
        let first = sandbox.log_part(0, 20).unwrap();
        assert!(first.from > 0 && first.bytes == written[usize::try_from(first.from).unwrap()..][..20], "the first that is there");
        let beyond = sandbox.log_part(u64::MAX, 20).unwrap();
        assert_eq!((beyond.from, beyond.bytes.len()), (beyond.length, 0));
    }

    #[test]
    fn a_log_is_cut_while_a_program_writes_and_no_line_of_what_is_left_is_lost() {
        let (_root, sandbox) = sandbox();
        let mut writer = sandbox.open_log().unwrap();
        writer.write_all(&vec![b'\n'; 11 * 1024 * 1024]).unwrap();
        let writing = std::thread::spawn(move || {
            for n in 0..2_000 {
                // In one piece: a line may be lost whole.
                writer.write_all(format!("{n}\n").as_bytes()).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(20));
            }
        });
        sandbox.trim_log().unwrap();
        writing.join().unwrap();
        let text = sandbox.log_tail(64 * 1024).unwrap();
        let numbers: Vec<u32> = text.split_whitespace().map(|line| line.parse().unwrap()).collect();
        let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(in_order && numbers.last() == Some(&1_999) && numbers.len() > 1_900, "{} lines", numbers.len());
    }

    #[test]
    fn a_frozen_server_holds_up_neither_the_cut_nor_the_look() {
        let (_root, sandbox) = sandbox();
        sandbox.open_log().unwrap().write_all(&vec![b'x'; 11 * 1024 * 1024]).unwrap();
        let frozen = sandbox.lock_beginning().unwrap().unwrap();
        sandbox.trim_log().unwrap();
        assert_eq!(sandbox.log_length().unwrap(), 11 * 1024 * 1024);
        assert_eq!(sandbox.log_part(0, 9).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(frozen);
        assert_eq!(sandbox.log_part(0, 9).unwrap().bytes.len(), 9);
    }
}
