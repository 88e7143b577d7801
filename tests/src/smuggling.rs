//! Request smuggling: a corpus of what is refused, and what holds for every stream of bytes that is not.
//!
//! A connection here is a script of pieces and a real hyper server behind Beeline's tap, polled by hand: no socket, no
//! clock, the same answer each time. The corpus is judged case by case; `agreement` states the property that random
//! streams are held against, by proptest in the host's tests and by `cargo xtask fuzz` for longer.

pub mod agreement;
pub mod corpus;
pub mod messages;
pub mod readers;
#[cfg(test)]
mod real;
pub mod server;
pub mod streams;
#[cfg(test)]
mod tests;
