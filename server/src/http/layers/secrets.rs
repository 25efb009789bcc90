//! What lets somebody in is marked: nothing that writes headers down shows it.

use axum::{
    extract::Request,
    http::{
        HeaderName,
        header::{self, AUTHORIZATION, COOKIE},
    },
    response::Response,
};

use super::Within;
use crate::auth::CLOUDFLARE_ASSERTION;

const SECRET: [HeaderName; 3] = [AUTHORIZATION, COOKIE, CLOUDFLARE_ASSERTION];

pub async fn secrets<N: Within>(mut request: Request, next: N) -> Response {
    for name in SECRET {
        if let header::Entry::Occupied(mut values) = request.headers_mut().entry(name) {
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    next.run(request).await
}
