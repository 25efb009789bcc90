//! What moves in an exchange, seen on its way: bytes of a body, and what a client says on a WebSocket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::uses::Used;

/// What is sent to a session: each piece is a use.
pub struct Upload {
    pub inner: Body,
    pub used: Used,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.used.now();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The client's side of a WebSocket: each frame that it sends is a use, but for those that browsers send by themselves.
pub struct Client<S> {
    pub inner: S,
    pub frames: Frames,
    pub used: Used,
}

impl<S: AsyncRead + Unpin> AsyncRead for Client<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if self.frames.say_something(&buffer.filled()[before..]) {
            self.used.now();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Client<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Where in the frames of RFC 6455 somebody is: as far as it takes to tell what a program says from answers to pings.
#[derive(Debug, Default)]
pub struct Frames {
    /// Of the frame that begins, as far as it is there.
    head: Vec<u8>,
    /// Of the frame's payload, still to come.
    left: u64,
    is_control: bool,
}

impl Frames {
    /// Whether any of these bytes are of a frame that carries data.
    pub fn say_something(&mut self, mut bytes: &[u8]) -> bool {
        let mut said = false;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= taken as u64;
                said |= !self.is_control;
                bytes = &bytes[taken..];
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some((opcode, length)) = whole(&self.head) {
                self.is_control = opcode >= 8;
                self.left = length;
                said |= !self.is_control;
                self.head.clear();
            }
        }
        said
    }
}

/// Opcode and length of a frame whose head ends here.
fn whole(head: &[u8]) -> Option<(u8, u64)> {
    let [first, second, rest @ ..] = head else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < extended + mask {
        return None;
    }
    let length = rest[..extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some((first & 0x0f, if extended == 0 { u64::from(second & 0x7f) } else { length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        // What looks like the head of a frame.
        frame.extend(vec![0x81; payload]);
        frame
    }

    #[test]
    fn what_a_program_says_is_told_from_answers_to_pings_however_it_is_cut() {
        let of = |opcodes: &[(u8, usize)]| opcodes.iter().flat_map(|(opcode, payload)| frame(*opcode, *payload)).collect::<Vec<_>>();
        for cut in [1, 2, 3, 7, 100_000] {
            let says = |bytes: &[u8]| {
                let mut frames = Frames::default();
                bytes.chunks(cut).fold(false, |said, piece| frames.say_something(piece) | said)
            };
            assert!(!says(&of(&[(10, 0), (10, 5), (9, 125), (8, 2), (10, 1)])), "{cut}");
            for data in [(1, 1), (2, 125), (0, 126), (2, 70_000), (1, 0)] {
                assert!(says(&of(&[(10, 4), data])), "{cut} {data:?}");
            }
            let mut frames = Frames::default();
            for data in [0, 3, 126, 70_000] {
                frame(1, data).chunks(cut).for_each(|piece| _ = frames.say_something(piece));
                assert!(!frame(10, 4).chunks(cut).any(|piece| frames.say_something(piece)), "after {data}, {cut}");
            }
        }
    }
}
