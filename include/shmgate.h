/*
 * shmgate.h: what a program that links -lshmgate can ask of shmgate.
 *
 * shmgate stands between a program and its System V shared memory (shmget, shmat, shmdt, shmctl). Linking the library gates
 * the program's calls, as LD_PRELOAD does; these functions say what came of them. They may be called from any thread.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef SHMGATE_H
#define SHMGATE_H

/* Made by cbindgen from src/capi.rs: change that, and run `make header`. */

#include <stddef.h>
#include <stdint.h>

/*
 * What AIX's shmget knows beyond Linux's flags, in bits that Linux leaves free: wishes about a new segment. What can't be had is no
 * error. Where the library is not, the kernel ignores them. Include <sys/shm.h> first, should it ever have them.
 */
#ifndef SHM_LGPAGE
#define SHM_LGPAGE 0x100000 /* large pages */
#endif
#ifndef SHM_PIN
#define SHM_PIN 0x200000 /* pages stay in memory, as after SHM_LOCK */
#endif
#ifndef SHM_HGSEG
#define SHM_HGSEG 0x400000 /* attached at an address that suits the largest pages */
#endif

/**
 * Counters of the calling process.
 */
#define SHMGATE_PROCESS 0

/**
 * Counters of all processes of the session.
 */
#define SHMGATE_SESSION 1

/**
 * What a process or a session did and has in use.
 *
 * Bytes, segments and attaches are kept only where there are quotas or a session; otherwise they are 0. Bytes are those of the
 * segments created, rounded up to pages, until the segments are destroyed.
 */
struct shmgate_counters {
  /**
   * Calls of shmget, shmat, shmdt, shmctl and ftok.
   */
  uint64_t calls;
  /**
   * Calls that were refused by a quota or rule.
   */
  uint64_t denials;
  /**
   * Bytes of the segments created.
   */
  uint64_t bytes;
  /**
   * Segments created.
   */
  uint64_t segments;
  /**
   * Segments attached.
   */
  uint64_t attaches;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library, such as "0.1.0".
 *
 * # Returns
 * A string that is valid for as long as the library is loaded. Never NULL.
 */
const char *shmgate_version(void);

/**
 * Which backend serves the calls: "kernel" or "userspace".
 *
 * # Returns
 * A string that is valid for as long as the library is loaded. Never NULL.
 */
const char *shmgate_backend(void);

/**
 * Fills `out` with counters of the calling process (SHMGATE_PROCESS) or of its session (SHMGATE_SESSION).
 *
 * # Returns
 * 0, or -1 with errno set.
 *
 * # Errors
 * EINVAL: `scope` is neither. EFAULT: `out` is NULL. ENOENT: the process belongs to no session.
 *
 * # Safety
 * `out` is NULL or points to a struct shmgate_counters.
 */
int shmgate_counters(int scope,
                     struct shmgate_counters *out);

/**
 * Writes the reason of the calling thread's last denial into `buf`, as a NUL-terminated string, cut off to `len` bytes if it is
 * longer. Nothing is written if `buf` is NULL or `len` is 0.
 *
 * # Returns
 * The length of the whole reason without the NUL, as snprintf does; 0 if nothing was denied to this thread yet.
 *
 * # Safety
 * `buf` is NULL or points to `len` writable bytes.
 */
size_t shmgate_last_denial(char *buf,
                           size_t len);

/**
 * Sends the log to `target` from now on: "stderr" or "-", a file's path, or NULL or "off" for nowhere.
 *
 * The path's string is copied. A few bytes stay allocated for each change, since another thread may be writing meanwhile.
 *
 * # Returns
 * 0, or -1 with errno set.
 *
 * # Errors
 * EINVAL: `target` is empty. ENAMETOOLONG: it is longer than a path can be.
 *
 * # Safety
 * `target` is NULL or a NUL-terminated string.
 */
int shmgate_log(const char *target);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHMGATE_H */
