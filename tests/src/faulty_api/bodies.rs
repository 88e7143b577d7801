//! What happens to an answer on its way: it is cut, or an object is put among those in it.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt, future, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::answers::{Talk, concerns};
use super::{Fault, Weather};

/// The body of an answer.
pub type Answer = UnsyncBoxBody<Bytes, Error>;
type Error = Box<dyn std::error::Error + Send + Sync>;
type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The beginning of an event that never comes to its end.
const HALF_A_LINE: &[u8] = b"{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"";

/// A text as a body.
pub fn text(text: &str) -> Answer {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

/// A short answer, as it is.
pub fn whole(body: kube::client::Body) -> Answer {
    streamed(chunks(body))
}

/// Does the fault to an answer. A watch also ends with the next fault.
pub async fn disturb(
    answer: Response<kube::client::Body>,
    talk: &Talk,
    Weather { fault, number }: Weather,
    mut later: watch::Receiver<Weather>,
) -> Response<Answer> {
    let (head, body) = answer.into_parts();
    let intruder = match &fault {
        Fault::Intruder(_, object) if concerns(&fault, talk) => Some(object),
        _ => None,
    };
    let body = if talk.watch {
        let event =
            intruder.map(|object| Ok(Bytes::from(json!({ "type": "ADDED", "object": object }).to_string() + "\n")));
        let all = stream::iter(event).chain(chunks(body));
        let limit = match fault {
            Fault::CutWatches(limit) => Some(limit),
            _ => None,
        };
        let cut = async move {
            tokio::select! {
                () = elapsed(limit) => {}
                // Also when there is no weather any more.
                _ = later.wait_for(|weather| weather.number != number) => {}
            }
        };
        let last = [Ok(Bytes::from_static(HALF_A_LINE)), Err(Error::from(io::Error::other("cut")))];
        streamed(Box::pin(all.take_until(Box::pin(cut)).chain(stream::iter(last))))
    } else if let Some(object) = intruder {
        let read = body.collect().await.map(http_body_util::Collected::to_bytes);
        let whole = read.map_err(Error::from).map(|list| with_item(&list, object));
        streamed(Box::pin(stream::iter([whole])))
    } else {
        whole(body)
    };
    Response::from_parts(head, body)
}

async fn elapsed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => future::pending().await,
    }
}

/// A list with one more item; what is no list stays as it is.
fn with_item(list: &Bytes, object: &Value) -> Bytes {
    let Ok(mut parsed) = serde_json::from_slice::<Value>(list) else { return list.clone() };
    let Some(items) = parsed["items"].as_array_mut() else { return list.clone() };
    items.push(object.clone());
    parsed.to_string().into()
}

fn chunks(body: kube::client::Body) -> Chunks {
    let frames = BodyStream::new(body).filter_map(|frame| {
        future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(Error::from(error))),
        })
    });
    Box::pin(frames)
}

fn streamed(chunks: Chunks) -> Answer {
    BodyExt::boxed_unsync(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))))
}
