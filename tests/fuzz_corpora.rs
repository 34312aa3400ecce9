//! Every fuzz target over its committed corpus, and over mutations of it that a seed decides: cut,
//! doubled, with single bytes replaced. A failure names the file and prints the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use proptest::prelude::*;
use ringshot_tests::fuzz;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 4] = [
    ("response_head", fuzz::response_head),
    ("chunked_body", fuzz::chunked_body),
    ("machine", fuzz::machine),
    ("url", fuzz::url),
];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut seeds: Vec<_> = files
        .filter_map(|file| {
            let bytes = std::fs::read(file.path()).ok()?;
            Some((file.path().display().to_string(), bytes))
        })
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 8, "the corpus {} has {} seeds", folder.display(), seeds.len());
    seeds
}

/// Bytes that mean something to the grammar.
const LIVELY: &[u8] = b"\r\n\0\t :;,0123459afx\"HTP/.\x7f\xff";

/// `seed` with a few bytes replaced, taken out or put in, as `edits` say.
fn mutate(seed: &[u8], edits: &[(usize, usize, u8)]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (place, byte, kind) in edits {
        let at = place % (bytes.len() + 1);
        let byte = LIVELY[byte % LIVELY.len()];
        match kind % 4 {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at.max(1)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => bytes.extend_from_slice(seed),
        }
    }
    bytes
}

fn check(name: &str, target: Target, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(outcome.is_ok(), "replay {name} with b\"{}\"", bytes.escape_ascii());
}

#[test]
fn the_committed_corpora() {
    for (name, target) in TARGETS {
        for (path, bytes) in seeds(name) {
            check(&path, target, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn mutations_of_the_corpora(
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((0..400_usize, 0..400_usize, 0..40_u8), 1..6),
    ) {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            check(name, target, &mutate(&seeds[pick.index(seeds.len())].1, &edits));
        }
    }
}
