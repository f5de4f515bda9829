//! The bodies that pass through: requests with their limits, answers with what must be given back when they end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::router::gate::Pass;
use crate::router::pool::Lease;
use crate::router::socket::Patience;

/// Why a body ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Longer than the configuration allows.
    #[error("the body is too long")]
    TooLong,
    /// The other end pauses for too long, or takes too long in all.
    #[error("the body comes too slowly")]
    TooSlow,
    /// The connection ended, or what came is no body.
    #[error("the body broke off")]
    Off,
}

/// What became of a streamed request body, for the answer that the client gets.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<AtomicU8>);

impl Verdict {
    fn set(&self, broken: Broken) {
        self.0.store(1 + broken as u8, Relaxed);
    }

    /// Why it ended early; `None` when it did not.
    pub fn get(&self) -> Option<Broken> {
        [None, Some(Broken::TooLong), Some(Broken::TooSlow), Some(Broken::Off)][usize::from(self.0.load(Relaxed)).min(3)]
    }
}

/// The body of a request on its way to a side.
pub enum Outgoing {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It comes from the client.
    Stream(Box<Stream>),
}

/// A body that comes from a client, within limits.
pub struct Stream {
    incoming: Incoming,
    left: usize,
    pause: Duration,
    until: Instant,
    patience: Patience,
    verdict: Verdict,
}

impl Outgoing {
    /// The body of a client's request: `most` bytes, no longer pause than `pause`, all of it within `all`.
    pub fn stream(incoming: Incoming, most: usize, pause: Duration, all: Duration) -> (Self, Verdict) {
        let verdict = Verdict::default();
        if incoming.is_end_stream() {
            return (Self::Whole(None), verdict);
        }
        let until = Instant::now() + all;
        let stream = Stream { incoming, left: most, pause, until, patience: Patience::default(), verdict: verdict.clone() };
        (Self::Stream(Box::new(stream)), verdict)
    }

    /// A body that is all here.
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Whether there is nothing of it, so that it can be sent twice.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let broken = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                let limit = self.pause.min(self.until.saturating_duration_since(Instant::now()));
                match self.patience.poll_over(cx, limit) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => Broken::TooSlow,
                }
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(_))) => Broken::Off,
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.reset();
                match frame.data_ref().map_or(0, Bytes::len) {
                    long if long > self.left => Broken::TooLong,
                    _ if Instant::now() > self.until => Broken::TooSlow,
                    length => {
                        self.left -= length;
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
            }
        };
        self.verdict.set(broken);
        Poll::Ready(Some(Err(broken)))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

/// What an answer occupies until it has ended.
pub struct Ride {
    /// The connection.
    pub lease: Lease,
    _pass: Pass,
    _place: OwnedSemaphorePermit,
}

impl Ride {
    /// A connection, the place among the requests of its side, and the place among the requests to the target.
    pub fn new(lease: Lease, pass: Pass, place: OwnedSemaphorePermit) -> Self {
        Self { lease, _pass: pass, _place: place }
    }
}

/// The body of an answer on its way to a client.
pub enum Answering {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// It comes from a side.
    Stream {
        /// What comes.
        incoming: Incoming,
        /// What it occupies.
        ride: Option<Box<Ride>>,
        /// The longest pause within it.
        pause: Duration,
        /// For waiting.
        patience: Patience,
    },
}

impl Answering {
    /// An answer that comes from a side.
    pub fn stream(incoming: Incoming, ride: Ride, pause: Duration) -> Self {
        if incoming.is_end_stream() {
            ride.lease.done();
            return Self::Whole(None);
        }
        Self::Stream { incoming, ride: Some(Box::new(ride)), pause, patience: Patience::default() }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream { incoming, ride, pause, patience } => {
                let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
                    Poll::Pending => match patience.poll_over(cx, *pause) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(()) => Some(Err(Broken::TooSlow)),
                    },
                    Poll::Ready(frame) => frame.map(|frame| frame.map_err(|_| Broken::Off)),
                };
                patience.reset();
                match &frame {
                    Some(Err(_)) => *ride = None,
                    Some(Ok(_)) if !incoming.is_end_stream() => {}
                    Some(Ok(_)) | None => {
                        if let Some(ride) = ride.take() {
                            ride.lease.done();
                        }
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// Reads a body whole into memory that is wiped.
///
/// # Errors
/// When it breaks off, comes too slowly, or has more than `most` bytes.
pub async fn collect<B>(body: B, most: usize, all: Duration) -> Result<Zeroizing<Vec<u8>>, Broken>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let read = async {
        // One allocation: growing would leave copies behind.
        let expected = body.size_hint().upper().map_or(most, |upper| usize::try_from(upper).unwrap_or(most));
        if expected > most && body.size_hint().upper().is_some() {
            return Err(Broken::TooLong);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(expected.min(most)));
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Broken::TooLong);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(all, read).await.unwrap_or(Err(Broken::TooSlow))
}

/// Bytes that are wiped when nobody needs them any more.
pub fn wiped(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    if bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(bytes) }
}
