//! A body that is lent to whoever reads it, and can be read out where they have given up: an answer to somebody who is still
//! sending is lost when the connection is closed on what has not been read.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};

/// So much of what nobody wants is taken, in bytes; more is somebody's who does not listen.
const PATIENCE: usize = 1024 * 1024;

#[derive(Debug, Clone)]
pub struct Lent(Arc<Mutex<Body>>);

impl Lent {
    pub fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// Read the rest and keep none of it.
    pub async fn read_out(mut self) {
        let mut read = 0;
        while read < PATIENCE {
            let Some(Ok(frame)) = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await else { return };
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body().size_hint()
    }
}
