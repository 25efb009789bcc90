//! Server-sent events, read as they come.

/// The largest message that is kept while it arrives.
const MOST: usize = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    pub id: Option<i64>,
    pub data: String,
}

/// What arrives, until it is whole lines, until they are whole messages.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    /// The line before ended in a carriage return: a line feed now belongs to it.
    after_return: bool,
    message: Message,
    has_data: bool,
}

/// More than any message has.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Reader {
    /// The messages that these bytes complete.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut whole = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => whole.extend(self.end_line()),
                _ if self.line.len() + self.message.data.len() >= MOST => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(whole)
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            "id" => self.message.id = value.parse().ok(),
            // A comment keeps the connection; the data says by itself what it is.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: i64, data: &str) -> Message {
        Message { id: Some(id), data: data.to_owned() }
    }

    const SENT: &str = ": hello\n\nid: 1\nevent: transition\ndata: {\"a\":1}\n\nid: 2\r\ndata: one\r\ndata:two\r\n\r\n: \n\nid: 3\ndata: ü\n\nid: 4\n\nid: 5\ndata: half";

    #[test]
    fn messages_are_whole_however_they_arrive() {
        let expected = [message(1, "{\"a\":1}"), message(2, "one\ntwo"), message(3, "ü")];
        for size in 1..SENT.len() {
            let mut reader = Reader::default();
            let read: Vec<Message> = SENT.as_bytes().chunks(size).flat_map(|part| reader.read(part).unwrap()).collect();
            assert_eq!(read, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_an_end_is_not_kept_for_ever() {
        let mut reader = Reader::default();
        let endless = vec![b'x'; MOST + 1];
        assert_eq!(reader.read(&endless), Err(TooLong));
        let mut lines = Reader::default();
        assert_eq!(lines.read("data: 0123456789\n".repeat(MOST / 8).as_bytes()), Err(TooLong));
    }
}
