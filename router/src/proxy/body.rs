//! Reading a request's body whole: the prompt must be known before a worker is chosen, and a retry needs it again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::RequestError;
use crate::limits::Limits;

/// Most that is allocated on a client's word about its length; beyond it, four times what really came.
const MOST_TRUSTED_BYTES: usize = 1 << 20;

/// A request's body. Clones share its bytes, which count among those of all bodies until the last clone is gone.
#[derive(Clone, Debug, Default)]
pub struct RequestBody {
    /// All of it but the trailers.
    pub data: Bytes,
    /// The fields after its end.
    pub trailers: Option<Box<HeaderMap>>,
}

/// Reads a body within the limits; `budget` has a permit for each byte that all bodies together may still take. One that
/// came in a single piece is not copied; any other is joined in one buffer as it comes.
pub async fn read_body(body: Incoming, limits: &Limits, budget: &Arc<Semaphore>) -> Result<RequestBody, RequestError> {
    if body.is_end_stream() {
        return Ok(RequestBody::default());
    }
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.body_bytes {
        return Err(RequestError::BodyTooLarge(limits.body_bytes));
    }
    let gathering = Gathering {
        limit: limits.body_bytes,
        announced,
        only: Bytes::new(),
        joined: Vec::new(),
        permit: budget.clone().try_acquire_many_owned(0).map_err(|_| RequestError::BodiesFull)?,
    };
    tokio::time::timeout(limits.body_timeout, collect(body, gathering))
        .await
        .map_err(|_| RequestError::BodyTimeout(limits.body_timeout))?
}

async fn collect(mut body: Incoming, mut gathering: Gathering) -> Result<RequestBody, RequestError> {
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| RequestError::BodyBroken)?.into_data() {
            Ok(data) => gathering.add(data)?,
            Err(frame) => trailers = frame.into_trailers().ok().map(Box::new),
        }
    }
    Ok(RequestBody { data: gathering.finish(), trailers })
}

/// A body under way.
struct Gathering {
    limit: usize,
    announced: usize,
    /// The first piece, as long as it is the only one.
    only: Bytes,
    joined: Vec<u8>,
    /// One permit for each byte of either.
    permit: OwnedSemaphorePermit,
}

impl Gathering {
    fn add(&mut self, data: Bytes) -> Result<(), RequestError> {
        if data.is_empty() {
            return Ok(());
        }
        let length = self.only.len() + self.joined.len() + data.len();
        if length > self.limit {
            return Err(RequestError::BodyTooLarge(self.limit));
        }
        if length == data.len() {
            self.raise_permit(length)?;
            self.only = data;
            return Ok(());
        }
        if self.joined.capacity() < length {
            let room = self.room_for(length);
            self.raise_permit(room)?;
            self.joined.reserve_exact(room - self.joined.len());
        }
        self.joined.extend_from_slice(&std::mem::take(&mut self.only));
        self.joined.extend_from_slice(&data);
        Ok(())
    }

    /// The size of the buffer once `length` bytes have come.
    fn room_for(&self, length: usize) -> usize {
        if length <= self.announced {
            return self.announced.min(MOST_TRUSTED_BYTES.max(4 * length));
        }
        (2 * length).min(self.limit)
    }

    fn raise_permit(&mut self, bytes: usize) -> Result<(), RequestError> {
        let missing = bytes.saturating_sub(self.permit.num_permits());
        let missing = u32::try_from(missing).map_err(|_| RequestError::BodiesFull)?;
        let more = self.permit.semaphore().clone().try_acquire_many_owned(missing);
        self.permit.merge(more.map_err(|_| RequestError::BodiesFull)?);
        Ok(())
    }

    fn finish(self) -> Bytes {
        let Self { limit: _, announced: _, only, joined, permit } = self;
        if joined.is_empty() {
            return Bytes::from_owner(Counted { bytes: only, _permit: permit });
        }
        Bytes::from_owner(Counted { bytes: joined, _permit: permit })
    }
}

/// Bytes and their permits, which live equally long.
struct Counted<T> {
    bytes: T,
    _permit: OwnedSemaphorePermit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Counted<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.trailers.is_some() {
            // Only a body of unknown length is sent in chunks, and only those have trailers.
            return SizeHint::default();
        }
        SizeHint::with_exact(self.data.len() as u64)
    }
}
