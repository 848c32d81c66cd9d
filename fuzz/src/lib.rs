//! What the fuzz targets do with their input, apart from libFuzzer.
//!
//! Each module is a parser's: its `run` takes any bytes, and panics where a promise does not hold. `fuzz_targets/` hands them to
//! libFuzzer (`cargo +nightly fuzz run policy fuzz/corpus/policy fuzz/seeds/policy`); `tests/replay.rs` runs the seeds and random changes of them
//! with stable Rust (`cargo test --manifest-path fuzz/Cargo.toml --no-default-features`). An input that found a defect becomes a seed.

pub mod journal;
pub mod policy;
pub mod registry;
pub mod size;

/// True if a text is one line that a terminal shows as it is.
fn is_plain_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
