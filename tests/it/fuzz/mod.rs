//! Inputs nobody wrote: seeds of a corpus, changed byte by byte and word by word. `tests/fuzz` does this for as long as it is told, the
//! tests for a fixed number of inputs.

mod journals;
mod mutation;
mod requests;
mod targets;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use mutation::Mutator;
use targets::{TARGETS, Target};

/// What the tests try.
const SEED: u64 = 1;

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz").join(target.name)
}

/// The inputs of a target that are in the repository, in a fixed order.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut all = read(&folder(target));
    all.extend(target.beside.iter().flat_map(|path| read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))));
    all
}

fn read(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files = paths.into_iter().filter(|path| path.is_file() && path.extension().is_none_or(|end| end != "md"));
    files.map(|path| std::fs::read(path).unwrap()).collect()
}

/// What is wrong with what a target does with an input.
fn trouble(target: &Target, input: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| (target.check)(input))) {
        Ok(done) => done.err(),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Some(format!("panic: {}", said.unwrap_or_default()))
        }
    }
}

/// An input by its digest.
fn name(input: &[u8]) -> String {
    Sha256::digest(input).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// How long a target is tried.
enum For {
    Inputs(u64),
    Time(Duration),
}

/// Tries a target: first the corpus as it is, then inputs made of it. Gives the number of inputs, and those that failed.
fn attempt(target: &Target, seed: u64, how_long: &For, mut before: impl FnMut(&[u8])) -> (u64, Vec<(Vec<u8>, String)>) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{}: no inputs to begin with", target.name);
    let mut mutator = Mutator::new(seed, &corpus);
    let (began, mut tried, mut failed) = (Instant::now(), 0u64, Vec::new());
    loop {
        let over = match how_long {
            For::Inputs(most) => tried >= *most,
            For::Time(most) => began.elapsed() >= *most,
        };
        if over || failed.len() >= 20 {
            return (tried, failed);
        }
        let at = usize::try_from(tried).unwrap_or(usize::MAX);
        let input = corpus.get(at).cloned().unwrap_or_else(|| mutator.next());
        before(&input);
        failed.extend(trouble(target, &input).map(|why| (input, why)));
        tried += 1;
    }
}

fn few(target: &str) {
    let target = TARGETS.iter().find(|known| known.name == target).unwrap();
    let count = corpus(target).len() as u64 + target.few;
    let (tried, failed) = attempt(target, SEED, &For::Inputs(count), |_| ());
    let said: Vec<String> =
        failed.iter().map(|(input, why)| format!("{} {why}\n{}", name(input), String::from_utf8_lossy(input))).collect();
    assert!(failed.is_empty(), "{} of {tried} inputs failed; `tests/fuzz` keeps them:\n{}", failed.len(), said.join("\n"));
}

#[test]
fn texts_are_linted() {
    few("lint");
}

#[test]
fn texts_are_rewritten() {
    few("rewrite");
}

#[test]
fn plans_are_checked() {
    few("plan");
}

#[test]
fn projections_are_read() {
    few("projection");
}

#[test]
fn journals_are_read() {
    few("journal");
}

#[test]
fn requests_are_understood() {
    few("oauth");
}

#[test]
fn changes_of_a_slot_are_read() {
    few("pgoutput");
}

/// `tests/fuzz [SECONDS] [SEED]`.
#[test]
#[ignore = "tests/fuzz runs it"]
fn for_a_while() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, seed) = (number("CROSSFADE_FUZZ_SECONDS", 60), number("CROSSFADE_FUZZ_SEED", SEED));
    let only = std::env::var("CROSSFADE_FUZZ_TARGET").ok();
    let chosen: Vec<&Target> = TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)).collect();
    let share = For::Time(Duration::from_secs(seconds) / u32::try_from(chosen.len()).unwrap());
    let mut bad = 0;
    for target in chosen {
        // What ends the process itself (a stack that is full) leaves its input here.
        let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        let file = File::create(&last).unwrap();
        let keep = |input: &[u8]| {
            file.write_all_at(input, 0).unwrap();
            file.set_len(input.len() as u64).unwrap();
        };
        let (tried, failed) = attempt(target, seed, &share, keep);
        let panics = failed.iter().filter(|(_, why)| why.starts_with("panic")).count();
        println!("{}: {tried} inputs, {panics} panics, {} other failures (seed {seed})", target.name, failed.len() - panics);
        for (input, why) in &failed {
            let path = folder(target).join(name(input));
            std::fs::create_dir_all(folder(target)).unwrap();
            std::fs::write(&path, input).unwrap();
            println!("  {}: {why}", path.display());
        }
        bad += failed.len();
        std::fs::remove_file(last).unwrap();
    }
    assert_eq!(bad, 0);
}
