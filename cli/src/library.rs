//! Where libshmgate.so is, and how LD_PRELOAD names it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use shmgate_core::session::Session;

use crate::elf::{Elf, Machine};
use crate::failure::{Failure, words};

/// The names it may have: that of a build, and its soname.
const NAMES: [&str; 2] = ["libshmgate.so", "libshmgate.so.0"];

/// The library to preload.
#[derive(Debug)]
pub struct Library {
    /// Absolute.
    path: PathBuf,
    pub machine: Machine,
}

impl Library {
    /// Finds it by SHMGATE_LIB, beside the command, or in the lib directory beside the command's.
    pub fn find() -> Result<Library, Failure> {
        if let Some(path) = env::var_os("SHMGATE_LIB").filter(|path| !path.is_empty()) {
            let path = std::path::absolute(&path).unwrap_or_else(|_| path.into());
            return Library::at(path.clone()).and_then(Library::if_ours).map_err(|why| {
                Failure::usage(format!("SHMGATE_LIB={}: {why}; set it to the path of libshmgate.so", path.display()))
            });
        }
        let command = env::current_exe().unwrap_or_default();
        let places = places(command.parent().unwrap_or(Path::new("/")));
        let found = places.iter().flat_map(|place| NAMES.map(|name| place.join(name))).find(|path| path.is_file());
        match found {
            Some(path) => {
                Library::at(path.clone()).map_err(|why| Failure::usage(format!("{}: {why}; install it anew", path.display())))
            }
            None => {
                let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                Err(Failure::usage(format!("libshmgate.so not found in {}; set SHMGATE_LIB to its path", places.join(", "))))
            }
        }
    }

    fn at(path: PathBuf) -> Result<Library, String> {
        match Elf::read(&path) {
            Ok(Some(elf)) => Ok(Library { path, machine: elf.machine }),
            Ok(None) => Err("not a shared library".into()),
            Err(error) => Err(words(&error)),
        }
    }

    /// Another library would load, and gate nothing.
    fn if_ours(self) -> Result<Library, String> {
        let export = b"\0shmgate_version\0";
        let bytes = fs::read(&self.path).map_err(|error| words(&error))?;
        if bytes.windows(export.len()).any(|part| part == export) { Ok(self) } else { Err("is not libshmgate.so".into()) }
    }

    /// The path for LD_PRELOAD. What that can't carry goes by a link in the session's directory.
    pub fn for_preload(&self, session: &Session) -> Result<PathBuf, Failure> {
        if is_plain(&self.path) {
            return Ok(self.path.clone());
        }
        let link = session.dir().join(NAMES[0]);
        if !is_plain(&link) {
            let (library, session) = (self.path.display(), session.dir().display());
            let what = "LD_PRELOAD can't carry a path with a space, a colon or a dollar sign";
            return Err(Failure::usage(format!(
                "{library}: {what}, and the session {session} has one too; use --session with another"
            )));
        }
        match std::os::unix::fs::symlink(&self.path, &link) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && fs::read_link(&link).is_ok_and(|to| to == self.path) => {}
            Err(error) => return Err(Failure::usage(format!("{}: {}", link.display(), words(&error)))),
            Ok(()) => {}
        }
        Ok(link)
    }
}

/// Where it may be, by the directory of the command.
fn places(beside: &Path) -> Vec<PathBuf> {
    let mut places = vec![beside.to_owned()];
    if let Some(prefix) = beside.parent() {
        let multiarch = format!("lib/{}-linux-gnu", env::consts::ARCH);
        places.extend(["lib", &multiarch, "lib64"].map(|lib| prefix.join(lib)));
    }
    places
}

/// The loader splits LD_PRELOAD at spaces and colons, and expands $LIB and the like.
fn is_plain(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b' ' | b':' | b'$'))
}

/// LD_PRELOAD with the library behind what is there already: libasan, for one, insists on being first.
pub fn preload(before: Option<&OsStr>, library: &Path) -> OsString {
    let before = before.unwrap_or_default();
    let has_it = before.as_bytes().split(|byte| matches!(byte, b' ' | b':')).any(|one| one == library.as_os_str().as_bytes());
    let mut value = before.to_owned();
    if !has_it {
        if !value.is_empty() {
            value.push(":");
        }
        value.push(library);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_comes_last_and_once() {
        let ours = Path::new("/l/libshmgate.so");
        let with = |before: Option<&str>| preload(before.map(OsStr::new), ours);
        assert_eq!(with(None), "/l/libshmgate.so");
        assert_eq!(with(Some("")), "/l/libshmgate.so");
        assert_eq!(with(Some("libasan.so /x.so")), "libasan.so /x.so:/l/libshmgate.so");
        assert_eq!(with(Some("/l/libshmgate.so:/x.so")), "/l/libshmgate.so:/x.so");
    }

    #[test]
    fn installed_places_are_looked_at() {
        let places = places(Path::new("/opt/x/bin"));
        for place in ["/opt/x/bin", "/opt/x/lib", "/opt/x/lib64"] {
            assert!(places.contains(&PathBuf::from(place)), "{place}");
        }
    }

    #[test]
    fn paths_that_ld_preload_cant_carry() {
        assert!(is_plain(Path::new("/a/b.so")));
        assert!(!is_plain(Path::new("/a b/c.so")) && !is_plain(Path::new("/a:b/c.so")) && !is_plain(Path::new("/$LIB/c.so")));
    }
}
