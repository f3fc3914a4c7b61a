//! Reading a request's body whole: the prompt must be known before a worker is chosen, and a retry needs it again.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::error::RequestError;

/// Longest time that a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Most that is allocated on a client's word about its length; beyond it the buffer grows with what really came.
const MOST_TRUSTED_BYTES: usize = 1 << 20;

/// Reads a body of at most `limit` bytes. One that came in a single piece is not copied.
pub async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, RequestError> {
    let announced = body.size_hint();
    if announced.lower() > limit as u64 {
        return Err(RequestError::BodyTooLarge(limit));
    }
    let expected = usize::try_from(announced.lower()).unwrap_or(0).min(MOST_TRUSTED_BYTES);
    tokio::time::timeout(BODY_TIMEOUT, collect(body, limit, expected))
        .await
        .map_err(|_| RequestError::BodyIncomplete)?
}

async fn collect(mut body: Incoming, limit: usize, expected: usize) -> Result<Bytes, RequestError> {
    let mut first = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| RequestError::BodyIncomplete)?.into_data() else { continue };
        length += data.len();
        if length > limit {
            return Err(RequestError::BodyTooLarge(limit));
        }
        if let Some(joined) = &mut joined {
            joined.extend_from_slice(&data);
        } else if first.is_empty() {
            first = data;
        } else {
            let mut buffer = BytesMut::with_capacity(expected.max(length));
            buffer.extend_from_slice(&first);
            buffer.extend_from_slice(&data);
            joined = Some(buffer);
        }
    }
    Ok(joined.map_or(first, BytesMut::freeze))
}
