//! The engine of shmgate: what happens between a hooked call and its outcome.
//!
//! It exports no C symbol and hooks nothing, so that the command and the tests can use it too. Data flows one way:
//! [`call::Call`] → [`gate::Gate`] (policy → backend → journal and log) → [`call::Outcome`].

mod atomic;
pub mod backend;
pub mod call;
pub mod callers;
pub mod clock;
pub mod config;
pub mod errno;
pub mod gate;
pub mod identity;
pub mod journal;
pub mod ledger;
pub mod log;
mod map;
#[cfg(test)]
mod model;
pub mod names;
pub mod policy;
pub mod session;
pub mod sys;
pub mod text;
mod thread;
