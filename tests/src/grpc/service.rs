//! The service. What `tonic-build` would write from a `.proto` is written out here, which spares the build a compiler.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{CHAT, COLLECT, COUNT, DETAILS, ECHOED, FAIL, Note, ONE, SERVICE, SLEEP};

/// How long the service sleeps if it is told to: longer than any client here waits.
const NAP: Duration = Duration::from_secs(30);

/// Serves in the clear until the process ends.
pub async fn serve(address: SocketAddr) -> Result<()> {
    eprintln!("{}", crate::pod::READY);
    Ok(tonic::transport::Server::builder().add_service(Talk).serve(address).await?)
}

#[derive(Clone, Copy, Debug)]
struct Talk;

impl NamedService for Talk {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for Talk {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(ProstCodec::<Note, Note>::default());
        async move {
            Ok(match request.uri().path() {
                ONE => grpc.unary(tower::service_fn(one), request).await,
                COLLECT => grpc.client_streaming(tower::service_fn(collect), request).await,
                COUNT => grpc.server_streaming(tower::service_fn(count), request).await,
                CHAT => grpc.streaming(tower::service_fn(chat), request).await,
                other => Status::unimplemented(other).into_http(),
            })
        }
        .boxed()
    }
}

/// The note comes back, and with it the metadata.
async fn one(request: Request<Note>) -> Result<Response<Note>, Status> {
    let (metadata, _, note) = request.into_parts();
    match note.text.as_str() {
        FAIL => Err(failure(&metadata)),
        SLEEP => {
            tokio::time::sleep(NAP).await;
            Err(Status::internal("nobody wanted to wait"))
        }
        _ => Ok(with_echo(Response::new(note), &metadata)),
    }
}

/// How many notes there were, and the sum of their numbers.
async fn collect(request: Request<Streaming<Note>>) -> Result<Response<Note>, Status> {
    let start = (0_u32, 0_u32);
    let add = |(count, sum): (u32, u32), note: Note| async move { Ok((count + 1, sum.wrapping_add(note.number))) };
    let (count, sum) = request.into_inner().try_fold(start, add).await?;
    Ok(Response::new(Note::new(&count.to_string(), sum)))
}

/// As many notes as asked for, then the end or an error.
async fn count(request: Request<Note>) -> Result<Response<BoxStream<'static, Result<Note, Status>>>, Status> {
    let (metadata, _, note) = request.into_parts();
    let text = note.text.clone();
    let notes = futures::stream::iter(0..note.number).map(move |number| Ok(Note::new(&text, number)));
    let end = (note.text == FAIL).then(|| Err(failure(&metadata)));
    Ok(with_echo(Response::new(notes.chain(futures::stream::iter(end)).boxed()), &metadata))
}

/// Each note comes back before the next is read.
async fn chat(request: Request<Streaming<Note>>) -> Result<Response<BoxStream<'static, Result<Note, Status>>>, Status> {
    Ok(Response::new(request.into_inner().boxed()))
}

fn with_echo<T>(mut response: Response<T>, metadata: &MetadataMap) -> Response<T> {
    if let Some(value) = metadata.get(ECHOED) {
        response.metadata_mut().insert(ECHOED, value.clone());
    }
    response
}

/// An error with everything that one may have.
fn failure(metadata: &MetadataMap) -> Status {
    let mut status = Status::with_details(Code::FailedPrecondition, "told to fail: 100 %, ünd so", DETAILS.into());
    if let Some(value) = metadata.get(ECHOED) {
        status.metadata_mut().insert(ECHOED, value.clone());
    }
    status
}
