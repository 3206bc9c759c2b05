//! Every target on mutations of good inputs: no panic, no hang, no memory that the input does not account for.
//!
//! `OPID_FUZZ_EXECUTIONS` is the number of executions in all (a few ten thousand by default), shared out so that every
//! target takes about as long; `OPID_FUZZ_FIRST` the number of the first (0), so that runs can go on from one another.
//! The same numbers are the same inputs. A failure names its target and number, and writes the input to a file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cpu_time::ProcessTime;
use libtest_mimic::{Arguments, Failed, Trial};
use opid_hostile::{Target, mutate, targets};

/// Executions without `OPID_FUZZ_EXECUTIONS`.
const EXECUTIONS: u64 = 30_000;
/// Longest CPU time of an execution, whatever else the machine does.
const LONGEST: Duration = Duration::from_secs(10);
/// Largest single allocation: so much, and so much for every byte of the input.
const ALLOCATION: (usize, usize) = (16 << 20, 256);

/// The system's allocator, with the largest size that was asked for.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; only a number is kept on the way. There is no other way to see a size
// before memory of it is had.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: what holds for our caller holds for us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn number(variable: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}; give a whole number"))
}

/// What is wrong with one execution.
fn execute(target: &Target, input: &[u8]) -> Result<(), String> {
    LARGEST.store(0, Ordering::Relaxed);
    let start = ProcessTime::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let (took, largest) = (start.elapsed(), LARGEST.load(Ordering::Relaxed));
    result.map_err(|_| "it panicked".to_owned())?;
    if took > LONGEST {
        return Err(format!("it took {took:?}"));
    }
    let (plain, each) = ALLOCATION;
    match largest > plain + each * input.len() {
        true => Err(format!("it asked for {largest} bytes at once, given {}", input.len())),
        false => Ok(()),
    }
}

fn check(target: &Target, first: u64, executions: u64) -> Result<(), Failed> {
    let seeds = (target.seeds)();
    let key = target.name.bytes().fold(0u64, |key, byte| key.wrapping_mul(257) + u64::from(byte));
    // What is made once is made here.
    seeds.iter().for_each(|seed| (target.run)(seed));
    for execution in first..first + executions {
        let input = match execution {
            0 => Vec::new(),
            n if n <= seeds.len() as u64 => seeds[n as usize - 1].clone(),
            _ => mutate(&seeds, &[key, execution]),
        };
        if let Err(reason) = execute(target, &input) {
            let file = std::env::temp_dir().join(format!("hostile_{}_{execution}", target.name));
            std::fs::write(&file, &input).map_err(|error| error.to_string())?;
            return Err(format!("execution {execution}: {reason}; the input is in {}", file.display()).into());
        }
    }
    println!("{}: executions {first} to {}", target.name, first + executions);
    Ok(())
}

/// Every target is a program of the folder `fuzz`.
fn listed() -> Result<(), Failed> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/Cargo.toml");
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let listed: BTreeSet<&str> = lines.filter(|name| *name != "opid-fuzz").collect();
    let there: BTreeSet<&str> = targets().iter().map(|target| target.name).collect();
    match listed == there {
        true => Ok(()),
        false => Err(format!("fuzz/Cargo.toml lists {listed:?}, not {there:?}").into()),
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Sizes of allocations are the program's.
    arguments.test_threads = Some(1);
    let (executions, first) = (number("OPID_FUZZ_EXECUTIONS", EXECUTIONS), number("OPID_FUZZ_FIRST", 0));
    let shares: f64 = targets().iter().map(|target| 1.0 / target.cost as f64).sum();
    let trials = targets().into_iter().map(|target| {
        let share = (executions as f64 / shares / target.cost as f64).ceil() as u64;
        Trial::test(target.name, move || check(&target, first, share))
    });
    let trials = trials.chain([Trial::test("all_are_listed", listed)]);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
