//! A fresh namespace of the userspace backend: its segments meet no others and are gone when it is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A namespace's directory, removed when dropped. `Run::on_userspace` starts programs in it.
pub struct Userspace {
    place: TempDir,
}

impl Userspace {
    /// A new and empty one: in tmpfs, and the user's own, as the backend wants it.
    pub fn fresh() -> Userspace {
        let place = tempfile::Builder::new()
            .prefix("shmgate-test-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in("/dev/shm")
            .expect("directory in /dev/shm");
        Userspace { place }
    }

    /// Where it is: what `SHMGATE_NAMESPACE` says.
    pub fn directory(&self) -> &Path {
        self.place.path()
    }
}
