//! Where a namespace is: the directory that a name means, found or made.
//!
//! A private namespace belongs to one user, and nobody else can look into it: a directory that is another user's, open to others, or a
//! symbolic link that somebody put into the way, is refused. A shared one is a directory like /tmp, in which everybody may make files
//! and remove their own; by a name only that of root or of the caller is found.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::errno::Errno;
use crate::sys;

/// Bytes that the path of a namespace's directory may have: its files' fit a buffer then.
const LONGEST_PATH: usize = 200;
const LONGEST_NAME: usize = 64;

/// What helps where one's own names lead into another's directory, or to a place that can't be written.
const ELSEWHERE: &str = "name an absolute directory of your own (SHMGATE_NAMESPACE=/some/directory)";

/// The directory that a value of `SHMGATE_NAMESPACE` means: a name, or an absolute path.
///
/// # Errors
/// A message for people.
pub fn directory(namespace: &str) -> Result<PathBuf, String> {
    let shared = shared_directory(namespace)?;
    let is_trusted = |meta: fs::Metadata| meta.is_dir() && (meta.uid() == 0 || meta.uid() == sys::geteuid());
    if namespace.starts_with('/') || fs::symlink_metadata(&shared).is_ok_and(is_trusted) {
        return Ok(shared);
    }
    Ok(base().join(namespace))
}

/// The directory of the shared namespace with this name, whether there is one or not; an absolute path is one as it is.
///
/// # Errors
/// A message for people.
pub fn shared_directory(namespace: &str) -> Result<PathBuf, String> {
    if namespace.starts_with('/') {
        // Without slashes and dots at the end: behind those the kernel follows a link.
        return Ok(Path::new(namespace).components().collect());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = !namespace.is_empty() && namespace.len() <= LONGEST_NAME && namespace.bytes().all(plain);
    if !is_name || namespace.starts_with(['.', '-']) {
        return Err(format!(
            "\"{}\" is no namespace: a name is 1 to {LONGEST_NAME} letters, digits, - _ . and begins with neither - nor .; or use an \
             absolute directory",
            namespace.escape_debug()
        ));
    }
    Ok(root().join([SHARED, namespace].concat()))
}

/// What the names of shared namespaces' directories begin with, beside those of users.
pub const SHARED: &str = "shmgate-shared-";

/// Where shared namespaces and users' directories are.
pub fn root() -> &'static Path {
    Path::new(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" })
}

/// Where the calling user's named namespaces are.
fn base() -> PathBuf {
    root().join(format!("shmgate-{}", sys::geteuid()))
}

/// The owner of a directory that is open to everybody, as that of a shared namespace is.
pub fn open_to_all(dir: &Path) -> Option<u32> {
    let meta = fs::symlink_metadata(dir).ok()?;
    (meta.is_dir() && meta.mode() & 0o1777 == 0o1777).then_some(meta.uid())
}

/// A namespace's directory, found or made.
pub(super) struct Place {
    /// Whose it is, if it is open to everybody.
    pub shared_by: Option<u32>,
    /// True if it was not there.
    pub is_made: bool,
}

impl Place {
    /// # Errors
    /// A message for people.
    pub fn find_or_make(dir: &Path) -> Result<Place, String> {
        if dir.as_os_str().len() > LONGEST_PATH {
            let what = format!("has too long a path; use one of at most {LONGEST_PATH} bytes");
            return Err(fault(dir, &what));
        }
        if dir.parent() == Some(&base()) {
            make(&base())?;
        }
        let shared_by = open_to_all(dir);
        Ok(Place { shared_by, is_made: shared_by.is_none() && make(dir)? })
    }

    /// `None` if it is not there.
    ///
    /// # Errors
    /// A message for people.
    pub fn find(dir: &Path) -> Result<Option<Place>, String> {
        let shared_by = open_to_all(dir);
        match private(dir) {
            Err(_) if fs::symlink_metadata(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => Ok(None),
            Err(why) if shared_by.is_none() => Err(why),
            _ => Ok(Some(Place { shared_by, is_made: false })),
        }
    }
}

/// Makes a directory of mode 0700, whatever the umask; false if something is there already.
///
/// # Errors
/// mkdir's and chmod's.
pub fn make_private(dir: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a private directory, unless it is there already; true if this call did.
fn make(dir: &Path) -> Result<bool, String> {
    match make_private(dir) {
        Ok(is_made) => private(dir).map(|()| is_made),
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "the directory above it has to be there",
                _ => ELSEWHERE,
            };
            Err(fault(dir, &format!("{}; {hint}", words(&error))))
        }
    }
}

fn private(dir: &Path) -> Result<(), String> {
    let fault = |what: &str| Err(fault(dir, what));
    let meta = match fs::symlink_metadata(dir) {
        Err(error) => return fault(words(&error)),
        Ok(meta) => meta,
    };
    if meta.is_symlink() {
        return fault("is a symbolic link; name the directory itself");
    }
    if !meta.is_dir() {
        return fault("is not a directory; name one, or what is to become one");
    }
    if meta.uid() != sys::geteuid() {
        return fault(&format!("belongs to user {}, not to you; {ELSEWHERE}", meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        // What holds other things may have to be open.
        let is_its_own = dir == base() || fs::symlink_metadata(dir.join("registry")).is_ok();
        let hint =
            if is_its_own { format!("close it to them: chmod 700 {}", dir.display()) } else { "name a new one in it".into() };
        return fault(&format!("is open to others (mode {:04o}); {hint}", meta.mode() & 0o777));
    }
    Ok(())
}

/// A message about the namespace in `dir`.
#[inline(never)]
pub(super) fn fault(dir: &Path, what: &str) -> String {
    format!("namespace {}: {what}", dir.display())
}

fn words(error: &io::Error) -> &'static str {
    Errno(error.raw_os_error().unwrap_or(libc::EIO)).text()
}
