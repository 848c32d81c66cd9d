//! libshmgate.so: the C edge of shmgate, all that C programs see.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `hooks` | the hooked functions: shmget, shmat, shmdt, shmctl, and what must be hooked beside them |
//! | `mappings` | the hooks of mmap, munmap and mremap, by which a host may change its attaches |
//! | `clone` | the hooks of clone and syscall, which may fork |
//! | `dlopen` | the hook of dlopen, which has to keep its caller's return address |
//! | `proc_files` | the hooks of open and fopen, for the files of /proc that tell of shared memory |
//! | `signals` | the hooks of sigaction and signal, for the sake of SIGBUS |
//! | `capi` | `shmgate_*`, from which include/shmgate.h is made |
//! | `edge` | a hook's way in and out: the gate, panics, errno |
//! | `process` | the process's one gate, and what happens at its start, forks and end |
//! | `next` | the functions that the host would have called without us |
//!
//! Everything else is in the crate `shmgate-core`. Hooks live here because exports of other crates are dropped from a cdylib, and
//! because a test binary that links a hook would call itself.

mod capi;
mod clone;
mod dlopen;
mod edge;
mod hooks;
mod mappings;
mod next;
mod proc_files;
mod process;
mod signals;
