//! What the elected agent does and no other: it begins when this agent is elected and is dropped when it no longer leads.

use tokio::sync::watch;

/// What an agent does while it leads.
pub(super) trait Duty {
    /// Whether this agent leads.
    fn leading(&self) -> watch::Receiver<bool>;

    /// Does it, from the beginning. It is dropped when the term is over; what it returns by itself is the end of it.
    fn term(&mut self) -> impl Future<Output = ()> + Send;
}

/// Does a duty in each term, until nobody can be elected any more.
pub(super) async fn serve(mut duty: impl Duty + Send) {
    let mut leading = duty.leading();
    while leading.wait_for(|leading| *leading).await.is_ok() {
        tokio::select! {
            () = duty.term() => return,
            _ = leading.wait_for(|leading| !*leading) => {}
        }
    }
}
