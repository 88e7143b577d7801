//! Copies of requests for other backends, of which nobody waits for an answer.
//!
//! A copy is made of each piece while it passes. If the mirror does not follow, the copy breaks off; the request itself
//! never waits for it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::body::{BodyError, ResponseBody};
use super::endpoint::Endpoint;
use super::forward::Outgoing;
use super::proxy_header::Ends;
use super::server::Worker;

/// How long a mirror may take for a copy.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pieces that may wait for a mirror.
const WAITING_PIECES: usize = 64;

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Where a body is copied to while it is read.
#[derive(Debug)]
pub struct MirrorTap(Sender<Piece>);

/// The copy.
#[derive(Debug)]
pub struct MirrorBody {
    pieces: Receiver<Piece>,
    is_over: bool,
}

/// Both ends of a copy.
pub fn pair() -> (MirrorTap, MirrorBody) {
    let (sender, pieces) = channel(WAITING_PIECES);
    (MirrorTap(sender), MirrorBody { pieces, is_over: false })
}

/// Sends a copy. What comes back is read to its end, so that the connection can be used again, and forgotten.
pub fn send(worker: Arc<Worker>, endpoint: Arc<Endpoint>, ends: Ends, copy: Outgoing) {
    let sending = async move {
        let Ok(mut lease) = endpoint.lease(&worker, ends, false).await else { return };
        let request = copy.into_request(lease.is_http2());
        if let Ok(response) = lease.send(request).await {
            let mut body = ResponseBody::backend(response.into_body(), lease, None);
            while let Some(Ok(_)) = body.frame().await {}
        }
    };
    tokio::spawn(tokio::time::timeout(PATIENCE, sending));
}

impl MirrorTap {
    /// Copies a piece; whether there is sense in going on.
    pub fn copy(&mut self, frame: &Frame<Bytes>) -> bool {
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return true,
        };
        self.0.try_send(piece).is_ok()
    }

    /// The request was complete.
    pub fn end(self) {
        let _ = self.0.try_send(Piece::End);
    }
}

impl MirrorBody {
    /// The next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::End) => {
                self.is_over = true;
                None
            }
            None => {
                self.is_over = true;
                Some(Err(BodyError::Copy))
            }
        })
    }
}
