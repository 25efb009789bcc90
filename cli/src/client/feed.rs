//! What happens to a session, as it happens: each thing once and in its order, over any number of connections.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use reqwest::{Response, StatusCode, header};
use serde::de::DeserializeOwned;

use super::{
    Client, ClientError, Patience,
    sse::{Message, Reader},
};
use crate::{
    ui::Ui,
    wire::{Event, EventPage, LogChunk, LogPage},
};

/// A stream on which not even a heartbeat (every 15 s) comes any more is lost.
const SILENCE: Duration = Duration::from_secs(40);
/// One on which nothing has come at all is given up sooner: something on the way keeps it back.
const FIRST: Duration = Duration::from_secs(20);
/// So many of them in a row, and pages are read instead.
const MUTE: u32 = 3;
/// Until a stream is tried again.
const AGAIN: Duration = Duration::from_secs(120);
/// A server that says when it wants to be asked again is not waited for longer than this.
const LATEST: Duration = Duration::from_secs(10);
/// A server that answers with pages is asked this often.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server that is away is looked for: the longest deadline of an operation.
const PATIENCE: Duration = Duration::from_secs(12 * 60);

/// Something that is numbered within its session, from 1 and without gaps.
pub trait Numbered: DeserializeOwned + fmt::Debug {
    /// The last part of its path.
    const PATH: &'static str;
    type Page: DeserializeOwned;

    fn seq(&self) -> i64;
    fn of(page: Self::Page) -> Vec<Self>;
}

impl Numbered for Event {
    const PATH: &'static str = "events";
    type Page = EventPage;

    fn seq(&self) -> i64 {
        self.seq
    }

    fn of(page: EventPage) -> Vec<Self> {
        page.events
    }
}

impl Numbered for LogChunk {
    const PATH: &'static str = "log";
    type Page = LogPage;

    fn seq(&self) -> i64 {
        self.seq
    }

    fn of(page: LogPage) -> Vec<Self> {
        page.chunks
    }
}

/// Since when there is no connection.
#[derive(Debug, Clone, Default)]
pub struct Contact(Arc<Mutex<Option<Instant>>>);

impl Contact {
    /// For how long there has been none.
    pub fn lost_for(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    fn set(&self, connected: bool) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if connected { None } else { since.or_else(|| Some(Instant::now())) };
    }
}

/// All of one kind that happens to a session after one number.
#[derive(Debug)]
pub struct Feed<'a, T> {
    client: &'a Client,
    ui: &'a Ui,
    path: String,
    after: i64,
    source: Source,
    arrived: VecDeque<(i64, Option<T>)>,
    /// What was asked for again because something was missing; if it still is, it is gone.
    asked_again: Option<i64>,
    /// How often in a row a connection brought nothing.
    vain: u32,
    /// How many streams in a row brought not a byte.
    mute: u32,
    /// How long the first byte of a stream is waited for.
    first: Duration,
    contact: Contact,
}

#[derive(Debug)]
enum Source {
    None,
    Stream(Box<Stream>),
    /// An older server knows no streams; or none comes through, until then.
    Pages(Option<Instant>),
}

#[derive(Debug)]
struct Stream {
    response: Response,
    reader: Reader,
    /// Whether anything has come.
    speaks: bool,
}

impl<'a, T: Numbered> Feed<'a, T> {
    pub fn new(client: &'a Client, ui: &'a Ui, session: SessionId, after: i64) -> Self {
        let path = format!("v1/sessions/{session}/{}", T::PATH);
        Self {
            client,
            ui,
            path,
            after,
            source: Source::None,
            arrived: VecDeque::new(),
            asked_again: None,
            vain: 0,
            mute: 0,
            first: FIRST,
            contact: Contact::default(),
        }
    }

    /// The number of what came last.
    pub fn after(&self) -> i64 {
        self.after
    }

    pub fn contact(&self) -> Contact {
        self.contact.clone()
    }

    /// The server answers with pages: it does not say when all has been sent.
    pub fn is_paged(&self) -> bool {
        matches!(self.source, Source::Pages(_))
    }

    /// The next one; none when all has been sent that ever will be. With pages: none where a page is empty.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            while let Some((seq, item)) = self.arrived.pop_front() {
                if seq <= self.after {
                    continue;
                }
                if seq > self.after + 1 && self.asked_again != Some(self.after) {
                    self.ui.note(&format!("{} {} comes after {}: asking again", T::PATH, seq, self.after));
                    self.asked_again = Some(self.after);
                    self.arrived.clear();
                    self.source = Source::None;
                    break;
                }
                (self.after, self.vain) = (seq, 0);
                if let Some(item) = item {
                    return Ok(Some(item));
                }
            }
            match &mut self.source {
                Source::None => {
                    if !self.connect().await? {
                        return Ok(None);
                    }
                }
                Source::Stream(stream) => {
                    let patience = if stream.speaks { SILENCE } else { self.first };
                    let read = match tokio::time::timeout(patience, stream.response.chunk()).await {
                        Ok(Ok(Some(bytes))) => {
                            (stream.speaks, self.mute) = (true, 0);
                            self.contact.set(true);
                            stream.reader.read(&bytes).ok()
                        }
                        // Silence, or a good end, before the first byte; where a connection breaks it is the network.
                        Ok(Ok(None)) | Err(_) if !stream.speaks => {
                            self.mute();
                            continue;
                        }
                        _ => None,
                    };
                    match read {
                        Some(messages) => self.arrived.extend(messages.iter().filter_map(item)),
                        None => self.lost(),
                    }
                }
                Source::Pages(Some(until)) if *until <= Instant::now() => self.source = Source::None,
                Source::Pages(_) => {
                    if !self.page().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Ended, broken, frozen or not to be understood: another one goes on where it was.
    fn lost(&mut self) {
        self.ui.note(&format!("the stream of {} after {} has ended; opening another", T::PATH, self.after));
        self.contact.set(false);
        self.source = Source::None;
        self.vain += 1;
    }

    /// Nothing came at all. Where that is so again and again, streams do not get through.
    fn mute(&mut self) {
        self.mute += 1;
        self.lost();
        if self.mute >= MUTE {
            self.ui.note(&format!("streams of {} bring nothing; reading pages", T::PATH));
            (self.source, self.vain) = (Source::Pages(Some(Instant::now() + AGAIN)), 1);
        }
    }

    /// Whether there is anything more to come.
    async fn connect(&mut self) -> Result<bool, ClientError> {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(pause(self.vain)).await;
            let request = || {
                let request = self.client.stream(&self.path).query(&[("after", self.after)]);
                if self.after > 0 { request.header("last-event-id", self.after) } else { request }
            };
            match self.client.opened(self.ui, request()).await {
                Ok(response) => return self.take(response).await,
                Err(error)
                    if error.is_transient(Patience::Wait)
                        && self.contact.lost_for().unwrap_or_default().max(begun.elapsed()) < PATIENCE =>
                {
                    self.ui.note(&format!("{error}; trying again"));
                    self.vain += 1;
                    if !error.is_busy() {
                        self.contact.set(false);
                    } else if let Some(after) = error.retry_after() {
                        tokio::time::sleep(after.min(LATEST)).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn take(&mut self, response: Response) -> Result<bool, ClientError> {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() == StatusCode::NO_CONTENT {
            self.contact.set(true);
            return Ok(false);
        }
        if kind.starts_with("text/event-stream") {
            self.source = Source::Stream(Box::new(Stream { response, reader: Reader::default(), speaks: false }));
            return Ok(true);
        }
        self.source = Source::Pages(None);
        let page = self.client.read(response).await?;
        self.contact.set(true);
        Ok(self.add(page))
    }

    /// With pages: whether the next one holds anything.
    async fn page(&mut self) -> Result<bool, ClientError> {
        if self.vain > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match self.client.page::<T>(self.ui, &self.path, self.after, Patience::Once).await {
            Ok(page) => {
                self.vain = 1;
                self.contact.set(true);
                Ok(self.add(page))
            }
            Err(error) if error.is_busy() => {
                tokio::time::sleep(error.retry_after().unwrap_or_default().min(LATEST)).await;
                self.vain += 1;
                self.source = Source::None;
                Ok(true)
            }
            Err(error) if error.is_transient(Patience::Wait) => {
                self.lost();
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, page: T::Page) -> bool {
        let items = T::of(page);
        self.arrived.extend(items.into_iter().map(|item| (item.seq(), Some(item))));
        !self.arrived.is_empty()
    }
}

/// What cannot be read is something that only a newer server knows: its number counts.
fn item<T: Numbered>(message: &Message) -> Option<(i64, Option<T>)> {
    match serde_json::from_str::<T>(&message.data) {
        Ok(item) => Some((item.seq(), Some(item))),
        Err(_) => message.id.map(|id| (id, None)),
    }
}

/// Longer the more often nothing came, and not for all clients the same.
fn pause(vain: u32) -> Duration {
    match vain {
        0 | 1 => Duration::ZERO,
        _ => Duration::from_millis(50 << vain.min(6)).mul_f64(0.5 + fastrand::f64() / 2.0).min(Duration::from_secs(2)),
    }
}

impl Client {
    /// A page of what is numbered.
    pub async fn page<T: Numbered>(&self, ui: &Ui, path: &str, after: i64, patience: Patience) -> Result<T::Page, ClientError> {
        self.call(ui, patience, || self.request(reqwest::Method::GET, path, None).query(&[("after", after)])).await
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
