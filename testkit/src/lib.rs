//! What the behaviour tests share.
//!
//! | module | holds |
//! | --- | --- |
//! | `artifacts` | where the built library and the command are |
//! | `compile` | C programs of `tests/programs`, compiled once |
//! | `executable` | executables that a test makes itself |
//! | `namespace` | a fresh IPC namespace that several processes can enter |
//! | `run` | what is to be started: native or gated, and in which namespace |
//! | `process` | what was started: with a deadline, and ended when dropped |
//! | `agent` | a process that makes one call a command, for tests with several actors |
//! | `session` | a session directory and the records of its journal |
//! | `userspace` | a fresh namespace of the userspace backend |
//! | `huge` | a pool of huge pages |
//! | `trial` | tests by name, with those that need root skipped and counted |
//!
//! Nothing here sleeps in hope: each wait ends on an event or on a deadline that fails the test.

pub mod agent;
pub mod artifacts;
pub mod compile;
pub mod executable;
pub mod huge;
pub mod namespace;
pub mod process;
pub mod run;
pub mod session;
pub mod trial;
pub mod userspace;

pub use agent::Agent;
pub use artifacts::{command, library, workspace};
pub use namespace::Namespace;
pub use process::{Outcome, Process, Status};
pub use run::Run;
pub use session::Session;
pub use trial::{as_root, run_trials};
pub use userspace::Userspace;
