//! Server-sent events, read as they come.

use reqwest::{Method, Response, header};
use serde_json::Value;

use crate::api::Api;

/// A whole message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: i64,
    pub event: String,
    pub data: Value,
}

/// What stands between two blank lines.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Message(Message),
    /// A comment, with its text.
    Comment(String),
    /// After how many milliseconds to come again.
    Retry(u64),
}

/// A stream that is open.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    unread: Vec<u8>,
}

impl Stream {
    /// The stream at this path; panics unless it is one.
    pub async fn open(api: &Api, path: &str, last: Option<i64>) -> Self {
        let response = ask(api, path, last).await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self::of(response)
    }

    #[must_use]
    pub const fn of(response: Response) -> Self {
        Self { response, unread: Vec::new() }
    }

    /// The next block; none when the stream has ended. An error when it broke off.
    pub async fn block(&mut self) -> reqwest::Result<Option<Block>> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Ok(Some(parse(std::str::from_utf8(&block[..end]).unwrap())));
            }
            match self.response.chunk().await? {
                Some(bytes) => self.unread.extend_from_slice(&bytes),
                None => {
                    assert!(self.unread.is_empty(), "it ends in the middle of a message");
                    return Ok(None);
                }
            }
        }
    }

    /// The next message; none when the stream has ended.
    pub async fn message(&mut self) -> reqwest::Result<Option<Message>> {
        loop {
            match self.block().await? {
                Some(Block::Message(message)) => return Ok(Some(message)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

/// Ask for a stream.
pub async fn ask(api: &Api, path: &str, last: Option<i64>) -> reqwest::Result<Response> {
    let request = api.request(Method::GET, path).header(header::ACCEPT, "text/event-stream");
    match last {
        Some(last) => request.header("last-event-id", last).send().await,
        None => request.send().await,
    }
}

/// A block without its blank line.
#[must_use]
pub fn parse(text: &str) -> Block {
    let (mut id, mut event, mut data) = (None, String::new(), String::new());
    for line in text.lines() {
        match line.split_once(':').map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value))) {
            Some(("", comment)) => return Block::Comment(comment.to_owned()),
            Some(("retry", after)) => return Block::Retry(after.parse().unwrap()),
            Some(("id", value)) => id = Some(value.parse().unwrap()),
            Some(("event", value)) => value.clone_into(&mut event),
            Some(("data", value)) => data.push_str(value),
            _ => panic!("not a line of a message: {line:?}"),
        }
    }
    Block::Message(Message { id: id.expect("each message has an id"), event, data: serde_json::from_str(&data).unwrap() })
}
