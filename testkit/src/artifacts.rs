//! Where the things under test are: the workspace, the built library, the built command.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The workspace's top folder, found from this crate's own.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit lies below the workspace")
}

/// `libshmgate.so`, from `make` or from `SHMGATE_TEST_LIB`.
pub fn library() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("SHMGATE_TEST_LIB", "libshmgate.so"))
}

/// The command `shmgate`, from `make` or from `SHMGATE_TEST_CMD`.
pub fn command() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("SHMGATE_TEST_CMD", "shmgate"))
}

/// The folder that build products go to.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

fn built(variable: &str, name: &str) -> PathBuf {
    let path = match env::var_os(variable) {
        Some(path) => workspace().join(path),
        None => target().join("release").join(name),
    };
    assert!(path.exists(), "{} is missing: run make first, or set {variable}", path.display());
    path
}
