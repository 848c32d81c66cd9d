//! Limits: quotas and rules, over all the processes of a session; each on the kernel, and on the userspace backend with the kernel's
//! four system calls made to fail.
//!
//! | module | shows |
//! | --- | --- |
//! | `quotas` | each quota, its errno and its reason |
//! | `session` | quotas over fork, exec, unrelated processes, SIGKILL, removal by others |
//! | `races` | threads and processes at once: exactly as many succeed as there is room |
//! | `rules` | rules, forbid-world-access, masks, dry run |
//! | `setup` | policies that can't be used, and what a program can ask about |

use std::process::ExitCode;

use shmgate_testkit::{Agent, Namespace, Session, run_trials};

mod quotas;
mod races;
mod rules;
mod session;
mod setup;

fn main() -> ExitCode {
    let trials = [quotas::trials(), session::trials(), races::trials(), rules::trials(), setup::trials()];
    run_trials(trials.into_iter().flatten().collect())
}

/// A session with this policy, an agent in it, and another without the gate.
fn scene(policy: &str) -> Scene {
    let namespace = Namespace::of_trial();
    let session = Session::with_policy(&namespace, policy);
    let agent = Agent::gated(&namespace, &session);
    let bare = Agent::native(&namespace);
    Scene { agent, bare, session, namespace }
}

struct Scene {
    agent: Agent,
    bare: Agent,
    session: Session,
    namespace: Namespace,
}

impl Scene {
    /// One more agent in the session, no relative of the first.
    fn another(&self) -> Agent {
        Agent::gated(&self.namespace, &self.session)
    }
}
