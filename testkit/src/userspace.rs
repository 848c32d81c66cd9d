//! A fresh namespace of the userspace backend: its segments meet no others and are gone when it is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Run;
use crate::artifacts::command;

/// A namespace's directory, removed when dropped. `Run::on_userspace` starts programs in it.
pub struct Userspace {
    /// Removes what is in it.
    _place: TempDir,
    directory: PathBuf,
}

impl Userspace {
    /// A new and empty one: in tmpfs, and the user's own, as the backend wants it.
    pub fn fresh() -> Userspace {
        let place = place(0o700);
        Userspace { directory: place.path().to_owned(), _place: place }
    }

    /// A new and empty one that all users share.
    pub fn shared() -> Userspace {
        let place = place(0o711);
        let directory = place.path().join("shared");
        Run::new(command()).args(["namespace", "create", "--shared"]).arg(&directory).output().silent();
        Userspace { directory, _place: place }
    }

    /// Where it is: what `SHMGATE_NAMESPACE` says.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn place(mode: u32) -> TempDir {
    let permissions = Permissions::from_mode(mode);
    let made = tempfile::Builder::new().prefix("shmgate-test-").permissions(permissions).tempdir_in("/dev/shm");
    made.expect("directory in /dev/shm")
}
