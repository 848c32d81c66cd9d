//! Registries of the userspace backend. See the crate's library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shmgate_fuzz::registry::run(data));
