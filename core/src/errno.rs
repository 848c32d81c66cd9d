//! errno values as a type, with the names and words that people know them by.
//!
//! The words are a table of ours, not `strerror`'s: that one follows the locale and may allocate.

/// An errno value, greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident $text:literal)*) => {
        impl Errno {
            $(#[allow(missing_docs)] pub const $name: Errno = Errno(libc::$name);)*

            /// The C name, such as `EINVAL`, if it is one that a shared memory call can meet.
            pub fn name(self) -> Option<&'static str> {
                match self { $(Errno::$name => Some(stringify!($name)),)* _ => None }
            }

            /// What it means, in libc's English words.
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* _ => "Unknown error" }
            }

            /// The value of a C name.
            pub fn from_name(name: &str) -> Option<Errno> {
                match name { $(stringify!($name) => Some(Errno::$name),)* _ => None }
            }
        }
    };
}

errnos! {
    EPERM "Operation not permitted"
    ENOENT "No such file or directory"
    EINTR "Interrupted system call"
    EIO "Input/output error"
    EBADF "Bad file descriptor"
    EAGAIN "Resource temporarily unavailable"
    ENOMEM "Cannot allocate memory"
    EACCES "Permission denied"
    EFAULT "Bad address"
    EBUSY "Device or resource busy"
    EEXIST "File exists"
    ENOTDIR "Not a directory"
    EINVAL "Invalid argument"
    ENFILE "Too many open files in system"
    EMFILE "Too many open files"
    EFBIG "File too large"
    ENOSPC "No space left on device"
    EROFS "Read-only file system"
    EPIPE "Broken pipe"
    ERANGE "Numerical result out of range"
    ENAMETOOLONG "File name too long"
    ENOSYS "Function not implemented"
    ELOOP "Too many levels of symbolic links"
    EIDRM "Identifier removed"
    EOVERFLOW "Value too large for defined data type"
    EOPNOTSUPP "Operation not supported"
    EISDIR "Is a directory"
    ENXIO "No such device or address"
    EDQUOT "Disk quota exceeded"
}

/// Where the calling thread's errno lies.
#[inline]
pub fn place() -> *mut i32 {
    // SAFETY: libc gives a valid pointer, good as long as the thread lives.
    unsafe { libc::__errno_location() }
}

/// The calling thread's errno.
pub fn get() -> i32 {
    // SAFETY: valid, by libc's promise.
    unsafe { *place() }
}

/// Sets the calling thread's errno.
pub fn set(value: i32) {
    // SAFETY: valid, by libc's promise.
    unsafe { *place() = value }
}

impl Errno {
    /// The calling thread's errno, after a call that failed.
    pub fn last() -> Errno {
        Errno(get())
    }
}

/// Restores the host's errno when dropped, unless told what the call's own is.
#[derive(Debug)]
pub struct HostErrno {
    place: *mut i32,
    value: i32,
}

impl HostErrno {
    /// Saves errno.
    #[inline]
    pub fn save() -> HostErrno {
        let place = place();
        // SAFETY: it is this thread's errno, and this value stays in the thread.
        HostErrno { place, value: unsafe { place.read() } }
    }

    /// What the call failed with.
    #[inline]
    pub fn fail(&mut self, errno: Errno) {
        self.value = errno.0;
    }
}

impl Drop for HostErrno {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `save`.
        unsafe { self.place.write(self.value) };
    }
}
