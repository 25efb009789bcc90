//! The real `alpine` on a terminal: a pseudo-terminal, and an emulator that shows what stands on it.

use std::{
    fs::File,
    io::Read,
    num::NonZero,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    bins,
    cli::{Alpine, interrupted},
};

/// High enough that nothing scrolls away.
const ROWS: u16 = 400;

/// What a person saw.
#[derive(Debug)]
pub struct Shown {
    /// `None`: killed by a signal.
    pub code: Option<i32>,
    /// Every byte that was written to the terminal.
    pub raw: String,
    /// What stood on it after each write, without repetitions.
    pub frames: Vec<String>,
    pub took: Duration,
}

impl Shown {
    /// What stands on the terminal at the end.
    pub fn screen(&self) -> &str {
        self.frames.last().map_or("", String::as_str)
    }
}

/// A terminal's two ends.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: File,
    columns: u16,
}

impl Terminal {
    pub fn new(columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let terminal = Self { master: master.into(), slave, columns };
        terminal.resize(columns);
        terminal
    }

    /// A person pulls at the window's corner.
    pub fn resize(&self, columns: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    }

    fn end(&self) -> Stdio {
        self.slave.try_clone().unwrap().into()
    }
}

impl Alpine {
    /// Runs it on a terminal of so many columns, to its end.
    pub async fn on_terminal(self, columns: u16) -> Shown {
        self.on_terminal_until(columns, std::future::pending()).await
    }

    /// The same; it is interrupted, as by Ctrl-C, when `interrupt` is over.
    pub async fn on_terminal_until(self, columns: u16, interrupt: impl Future<Output = ()>) -> Shown {
        let terminal = Terminal::new(columns);
        let begun = Instant::now();
        let mut command = self.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").command_of(bins::path("alpine"));
        command.stdin(terminal.end()).stdout(terminal.end()).stderr(terminal.end());
        let mut child = command.spawn().expect("alpine runs");
        // Its own ends are closed when the child has ended: the reader's end is that.
        drop(command);
        let Terminal { master, slave, columns } = terminal;
        drop(slave);
        let reader = tokio::task::spawn_blocking(move || read(master, columns));
        let ended = interrupted(child.id(), interrupt, child.wait());
        let status = tokio::time::timeout(Duration::from_secs(180), ended).await.expect("it ends").unwrap();
        let (raw, frames) = reader.await.unwrap();
        Shown { code: status.code(), raw, frames, took: begun.elapsed() }
    }
}

fn read(mut master: File, columns: u16) -> (String, Vec<String>) {
    let mut screen = vt100::Parser::new(NonZero::new(ROWS).unwrap(), NonZero::new(columns).unwrap(), 0);
    let (mut raw, mut frames, mut bytes) = (Vec::new(), Vec::<String>::new(), [0; 64 * 1024]);
    // The last writer's end is an error here.
    while let Ok(read @ 1..) = master.read(&mut bytes) {
        raw.extend_from_slice(&bytes[..read]);
        screen.process(&bytes[..read]);
        let contents = screen.screen().contents();
        if frames.last() != Some(&contents) {
            frames.push(contents);
        }
    }
    (String::from_utf8(raw).expect("UTF-8"), frames)
}
