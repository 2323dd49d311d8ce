//! The fuzzing targets without a fuzzer: every seed, then simple variations of the seeds for a while. Needs
//! no other build than the tests do, and runs with them.

#[path = "targets/table.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use targets::{TARGETS, Target};

/// Seconds for each target, unless `ROWGATE_FUZZ_SECONDS` says otherwise.
const SECONDS: f64 = 0.5;
/// Changes made to a seed at a time, at most.
const CHANGES: u64 = 6;
/// Bytes of the longest input.
const LONGEST: usize = 1 << 16;

/// Numbers that differ from run to run (xorshift64*): which inputs are tried is no secret.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % bound.max(1)
    }

    fn pick<'a>(&mut self, seeds: &'a [Vec<u8>]) -> &'a [u8] {
        &seeds[self.below(seeds.len())]
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no seeds");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// A seed with a few changes: bytes, copies, cuts, parts of other seeds.
fn varied(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\"'\\{}[](),;:.-$/*\n eE0u";
    let mut input = random.pick(seeds).to_vec();
    for _ in 0..=random.below(usize::try_from(CHANGES).unwrap()) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1).min(32);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = TELLING[random.below(TELLING.len())],
            2 => input.insert(at, TELLING[random.below(TELLING.len())]),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part.repeat(1 + random.below(40)));
            }
            5 => {
                let other = random.pick(seeds);
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(LONGEST);
    input
}

fn check(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("{name} fails with b\"{}\"", input.escape_ascii());
    }
}

fn replay(name: &str) {
    let seconds = std::env::var("ROWGATE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let target = TARGETS.iter().find(|(known, _)| *known == name).unwrap().1;
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| check(name, target, seed));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut random = Random(u64::from(now.subsec_nanos()) << 20 | 1);
    let (began, limit) = (Instant::now(), Duration::from_secs_f64(seconds.unwrap_or(SECONDS)));
    let mut runs = 0_u64;
    while began.elapsed() < limit {
        check(name, target, &varied(&seeds, &mut random));
        runs += 1;
    }
    println!("{name}: {} seeds, {runs} variations", seeds.len());
}

macro_rules! replay {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replay! {
    array claims frames headers judge login params rows server_error split sql_body token
}
