//! Sizes as people write them. See the crate's library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shmgate_fuzz::size::run(data));
