//! Progress on the terminal: on one that can be written over, the running step and the last line of git or the installer
//! under the finished ones; elsewhere a line a transition.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use alpine_api::EventKind;
use chrono::TimeDelta;

use super::progress::{Done, Progress, words};
use crate::{
    Context,
    client::{Client, ClientError, Feed, Patience},
    ui::{Ui, cut, elapsed, width},
    wire::{Event, Operation, Word},
};

const TICK: Duration = Duration::from_millis(100);
const PLAIN_TICK: Duration = Duration::from_secs(1);
/// Without contact for longer than this, a person is told.
pub const LOST: Duration = Duration::from_secs(5);
/// Silence longer than this is said to be silence.
const QUIET: Duration = Duration::from_secs(10);
/// Where lines stay: what git or the installer says is told this often at most.
const PLAIN_DETAIL: Duration = Duration::from_secs(10);
/// And that nothing happens, this often.
const PLAIN_QUIET: Duration = Duration::from_secs(30);
/// The words of the steps are aligned up to here.
const WORDS: usize = 34;
/// The time beside them, right-aligned.
const TIME: usize = 12;

struct Show<'a> {
    ui: &'a Ui,
    operation: &'a Operation,
    progress: Progress,
    told: Instant,
    told_lost: bool,
}

/// Shows how far the operation is until `ended` says that it has.
pub async fn alongside<F>(context: &Context, client: &Client, operation: &Operation, ended: F) -> Result<Operation, ClientError>
where
    F: Future<Output = Result<Operation, ClientError>>,
{
    let ui = &context.ui;
    ui.info(&format!("{} (Ctrl-C leaves it running)", operation.session_id));
    let now = Instant::now();
    let mut show = Show { ui, operation, progress: Progress::new(operation.created_at, now), told: now, told_lost: false };
    let mut feed = Feed::<Event>::new(client, ui, operation.session_id, 0);
    let mut ended = pin!(ended);
    let result = show.until(&mut feed, ended.as_mut()).await;
    if result.is_ok() && !show.progress.rests() {
        // The last events may be on their way yet.
        if let Ok(page) = client.events(ui, operation.session_id, feed.after(), Patience::Ask).await {
            page.events.iter().for_each(|event| show.event(event));
        }
    }
    ui.progress(Vec::new());
    if let Some(summary) = show.progress.summary().filter(|_| result.is_ok()) {
        ui.info(&ui.error_style().bold(&summary));
    }
    result
}

impl Show<'_> {
    async fn until<F>(&mut self, feed: &mut Feed<'_, Event>, mut ended: std::pin::Pin<&mut F>) -> Result<Operation, ClientError>
    where
        F: Future<Output = Result<Operation, ClientError>>,
    {
        let contact = feed.contact();
        let mut tick = tokio::time::interval(if self.ui.repaints() { TICK } else { PLAIN_TICK });
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut open = true;
        loop {
            let seen = {
                // Kept until it is ready: what is half read of a stream is in it.
                let mut next = pin!(feed.next());
                loop {
                    tokio::select! {
                        biased;
                        seen = &mut next, if open => break seen,
                        ended = &mut ended => return ended,
                        _ = tick.tick() => self.tick(contact.lost_for()),
                    }
                }
            };
            match seen {
                Ok(Some(event)) => self.event(&event),
                Ok(None) if feed.is_paged() => {}
                // All was sent, or it cannot be seen: the wait itself goes on, and so does the time.
                Ok(None) => open = false,
                Err(error) => {
                    self.ui.note(&format!("no progress is shown: {error}"));
                    open = false;
                }
            }
        }
    }

    fn event(&mut self, event: &Event) {
        if event.operation_id != self.operation.operation_id {
            return;
        }
        let now = Instant::now();
        let done = self.progress.take(event, now);
        if self.ui.repaints() {
            if let Some(done) = done {
                self.ui.info(&self.done_line(&done));
            }
            self.tick(None);
        } else if event.kind != Word::Known(EventKind::Progress) {
            self.plain(self.progress.at(event), &words(event));
        } else if now.duration_since(self.told) >= PLAIN_DETAIL {
            self.plain(self.progress.at(event), self.progress.detail().unwrap_or_default());
            self.told = now;
        }
    }

    fn tick(&mut self, lost: Option<Duration>) {
        let now = Instant::now();
        let lost = lost.filter(|lost| *lost >= LOST);
        if self.ui.repaints() {
            self.ui.progress(self.lines(now, lost));
            return;
        }
        let running = TimeDelta::from_std(self.progress.running(now)).unwrap_or_default();
        if lost.is_some() != self.told_lost {
            self.told_lost = lost.is_some();
            self.plain(running, if self.told_lost { "no connection to the server; reconnecting" } else { "connected again" });
        }
        if now.duration_since(self.told) >= PLAIN_QUIET {
            let silence = self.progress.silence(now);
            if silence >= PLAIN_QUIET {
                self.plain(running, &format!("still waiting: no news for {} s", silence.as_secs()));
            }
            self.told = now;
        }
    }

    fn plain(&self, time: TimeDelta, words: &str) {
        self.ui.info(&format!("{:>12}  {words}", elapsed(time)));
    }

    fn done_line(&self, Done { step, took, failed }: &Done) -> String {
        let style = self.ui.error_style();
        let mark = match (failed, self.ui.unicode()) {
            (false, true) => "✓".to_owned(),
            (false, false) => "+".to_owned(),
            (true, true) => style.red("✗"),
            (true, false) => style.red("x"),
        };
        format!("{mark} {}{:>TIME$}", self.padded(step.doing), elapsed(*took))
    }

    fn lines(&self, now: Instant, lost: Option<Duration>) -> Vec<String> {
        if self.progress.rests() {
            return Vec::new();
        }
        let (step, time) = self.progress.doing(now);
        let spinner: &[&str] = if self.ui.unicode() {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]
        } else {
            &["|", "/", "-", "\\"]
        };
        let turn = usize::try_from(self.progress.running(now).as_millis() / TICK.as_millis()).unwrap_or_default();
        let doing = format!("{} {}{:>TIME$}", spinner[turn % spinner.len()], self.padded(step.doing), format!("{} s", time.as_secs()));
        let silence = self.progress.silence(now);
        let under = match (lost, self.progress.detail()) {
            (Some(lost), _) => format!("no connection to the server for {} s; reconnecting", lost.as_secs()),
            (None, detail) if silence >= QUIET => {
                let detail = detail.map(|detail| format!("{detail}; ")).unwrap_or_default();
                format!("{detail}still waiting: no news for {} s", silence.as_secs())
            }
            (None, Some(detail)) => detail.to_owned(),
            (None, None) => return vec![doing],
        };
        vec![doing, format!("  {}", self.ui.error_style().dim(&under))]
    }

    /// As wide as there is room for beside the time.
    fn padded(&self, words: &str) -> String {
        let room = WORDS.min(self.ui.columns().saturating_sub(TIME + 3));
        let words = cut(words, room);
        format!("{words}{}", " ".repeat(room.saturating_sub(width(&words))))
    }
}
