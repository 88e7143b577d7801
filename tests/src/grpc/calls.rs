//! The calls, each of which ends with an error if anything is not as the service sends it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures::channel::mpsc;
use futures::future::try_join_all;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::{CHAT, COLLECT, COUNT, DETAILS, ECHOED, FAIL, Note, ONE, SLEEP};

/// Notes of a stream.
const NOTES: u32 = 1000;
/// A text that does not fit into one frame, nor into a window.
const LARGE: usize = 1 << 20;
/// Calls at a time.
const AT_A_TIME: u32 = 100;
/// How long a call waits that is to be given up.
const PATIENCE: Duration = Duration::from_millis(300);

/// A client.
#[derive(Clone, Debug)]
struct Client(Grpc<Channel>);

/// Makes all calls, over one connection, for a host; the name of each is given to `done` when it went well.
pub async fn all(address: SocketAddr, authority: &str, mut done: impl FnMut(&str)) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.origin(format!("http://{authority}").parse()?);
    let client = Client(Grpc::new(endpoint.connect().await.context("no connection")?));
    one(&client).await.context("one message each way")?;
    done("unary");
    many(&client).await.context("many calls at a time")?;
    done("many at a time");
    collect(&client).await.context("a stream to the server")?;
    done("client streaming");
    count(&client).await.context("a stream from the server")?;
    done("server streaming");
    chat(&client).await.context("a stream each way")?;
    done("bidirectional streaming");
    fail(&client).await.context("an error with its details")?;
    done("error");
    fail_late(&client).await.context("an error behind messages")?;
    done("error after messages");
    unknown(&client).await.context("a method that there is not")?;
    done("unimplemented");
    lose_patience(&client).await.context("a deadline")?;
    done("deadline");
    Ok(())
}

impl Client {
    async fn ready(&self) -> Result<Grpc<Channel>> {
        let mut grpc = self.0.clone();
        grpc.ready().await.map_err(|error| anyhow!("the connection is not ready: {error}"))?;
        Ok(grpc)
    }

    async fn unary(&self, path: &'static str, note: Note) -> Result<Result<tonic::Response<Note>, Status>> {
        let mut grpc = self.ready().await?;
        Ok(grpc.unary(echoing(note), PathAndQuery::from_static(path), ProstCodec::default()).await)
    }

    async fn streamed(&self, note: Note) -> Result<tonic::Response<tonic::Streaming<Note>>> {
        let mut grpc = self.ready().await?;
        let path = PathAndQuery::from_static(COUNT);
        Ok(grpc.server_streaming(echoing(note), path, ProstCodec::default()).await?)
    }
}

/// With metadata that the service sends back.
fn echoing(note: Note) -> Request<Note> {
    let mut request = Request::new(note);
    request.metadata_mut().insert(ECHOED, tonic::metadata::MetadataValue::from_static("there and back"));
    request
}

async fn one(client: &Client) -> Result<()> {
    for text in [String::new(), "one".to_owned(), "l".repeat(LARGE)] {
        let sent = Note::new(&text, 7);
        let answer = client.unary(ONE, sent.clone()).await??;
        ensure!(answer.metadata().get(ECHOED).is_some_and(|value| value == "there and back"), "metadata is lost");
        ensure!(*answer.get_ref() == sent, "a note of {} bytes came back changed", text.len());
    }
    Ok(())
}

async fn many(client: &Client) -> Result<()> {
    let calls = (0..AT_A_TIME).map(|number| async move {
        let answer = client.unary(ONE, Note::new("many", number)).await??;
        ensure!(answer.get_ref().number == number, "an answer for another call");
        Ok(())
    });
    try_join_all(calls).await.map(drop)
}

async fn collect(client: &Client) -> Result<()> {
    let mut grpc = client.ready().await?;
    let notes = futures::stream::iter((0..NOTES).map(|number| Note::new(&"c".repeat(1024), number)));
    let path = PathAndQuery::from_static(COLLECT);
    let answer = grpc.client_streaming(Request::new(notes), path, ProstCodec::<Note, Note>::default()).await?;
    let expected = Note::new(&NOTES.to_string(), (0..NOTES).sum());
    ensure!(*answer.get_ref() == expected, "{:?} arrived", answer.get_ref());
    Ok(())
}

async fn count(client: &Client) -> Result<()> {
    let mut notes = client.streamed(Note::new(&"s".repeat(1024), NOTES)).await?.into_inner();
    for number in 0..NOTES {
        let note = notes.message().await?.context("the stream ended early")?;
        ensure!(note.number == number && note.text.len() == 1024, "note {number} is {}", note.number);
    }
    ensure!(notes.message().await?.is_none(), "the stream does not end");
    Ok(())
}

async fn chat(client: &Client) -> Result<()> {
    let mut grpc = client.ready().await?;
    let (sender, notes) = mpsc::unbounded();
    let path = PathAndQuery::from_static(CHAT);
    let answers = grpc.streaming(Request::new(notes), path, ProstCodec::<Note, Note>::default()).await?;
    let mut answers = answers.into_inner();
    for number in 0..AT_A_TIME {
        sender.unbounded_send(Note::new("chat", number))?;
        let answer = answers.message().await?.context("the stream ended early")?;
        ensure!(answer.number == number, "note {number} is {}", answer.number);
    }
    drop(sender);
    ensure!(answers.message().await?.is_none(), "the stream does not end");
    Ok(())
}

fn judge_failure(status: &Status) -> Result<()> {
    ensure!(status.code() == Code::FailedPrecondition, "the code is {:?}", status.code());
    ensure!(status.message() == "told to fail: 100 %, ünd so", "the message is `{}`", status.message());
    ensure!(status.details() == DETAILS, "the details are {:?}", status.details());
    ensure!(status.metadata().get(ECHOED).is_some_and(|value| value == "there and back"), "metadata is lost");
    Ok(())
}

async fn fail(client: &Client) -> Result<()> {
    let Err(status) = client.unary(ONE, Note::new(FAIL, 0)).await? else { return Err(anyhow!("there is no error")) };
    judge_failure(&status)
}

async fn fail_late(client: &Client) -> Result<()> {
    let mut notes = client.streamed(Note::new(FAIL, 10)).await?.into_inner();
    for number in 0..10 {
        let note = notes.message().await?.with_context(|| format!("the stream ended before note {number}"))?;
        ensure!(note.number == number, "note {number} is {}", note.number);
    }
    let Err(status) = notes.message().await else { return Err(anyhow!("there is no error")) };
    judge_failure(&status)
}

async fn unknown(client: &Client) -> Result<()> {
    let Err(status) = client.unary("/beeline.test.Talk/Nothing", Note::default()).await? else {
        return Err(anyhow!("there is an answer"));
    };
    ensure!(status.code() == Code::Unimplemented, "{status}");
    Ok(())
}

async fn lose_patience(client: &Client) -> Result<()> {
    let mut grpc = client.ready().await?;
    let mut request = Request::new(Note::new(SLEEP, 0));
    request.set_timeout(PATIENCE);
    let path = PathAndQuery::from_static(ONE);
    let answer = grpc.unary::<Note, Note, _>(request, path, ProstCodec::default()).await;
    let Err(status) = answer else { return Err(anyhow!("there is an answer")) };
    // The server keeps the deadline too, and is heard if it is faster.
    ensure!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    // The connection has not suffered.
    one(client).await
}
