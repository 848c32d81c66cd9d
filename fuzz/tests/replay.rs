//! The seeds, and random changes of them, through each target: what stable Rust can do of fuzzing. The same ones each time.

use std::fs;
use std::path::Path;

/// Random changes of each seed; `SHMGATE_FUZZ_ROUNDS` asks for another number.
const ROUNDS: usize = 1000;

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes some bytes, or takes, repeats, inserts a piece.
fn change(data: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(data.len() + 1);
        let end = (at + random.below(40)).min(data.len());
        match random.below(6) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.next() as u8,
            2 => drop(data.drain(at..end)),
            3 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(200)).min(other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
            _ => data.truncate(at),
        }
    }
}

/// One round in so many for a target whose rounds take long.
fn replay(target: &str, run: fn(&[u8]), one_in: usize) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir).expect("seeds").map(|entry| entry.expect("seeds").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    assert!(!seeds.is_empty());
    let rounds = std::env::var("SHMGATE_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS) / one_in;
    let mut random = Random(0x5e00_0001);
    for (seed, path) in seeds.iter().zip(&paths) {
        let attempt = |data: &[u8], what: &str| {
            if let Err(panic) = std::panic::catch_unwind(|| run(data)) {
                eprintln!("{what} of {}: {:?}", path.display(), data.escape_ascii().to_string());
                std::panic::resume_unwind(panic);
            }
        };
        attempt(seed, "the bytes");
        for _ in 0..rounds {
            let mut data = seed.clone();
            change(&mut data, &seeds, &mut random);
            attempt(&data, "a change");
        }
    }
}

#[test]
fn policies() {
    replay("policy", shmgate_fuzz::policy::run, 1);
}

#[test]
fn journals() {
    replay("journal", shmgate_fuzz::journal::run, 1);
}

#[test]
fn sizes() {
    replay("size", shmgate_fuzz::size::run, 1);
}

#[test]
fn registries() {
    replay("registry", shmgate_fuzz::registry::run, 5);
}
