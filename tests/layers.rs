//! The house's walls: no import of the engine runs up the layers, no crate is named outside its place, no file is over its length; and every public function of
//! the library stands in an example. Reads the sources as text.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that all others may import from, but for the protocol, which knows no time.
const COMMON: [&str; 3] = ["clock", "sync", "random"];

/// Each room of the engine, and those that it may import from.
const ROOMS: [(&str, &[&str]); 14] = [
    ("sync", &[]),
    ("random", &[]),
    ("sys", &[]),
    ("proto", &[]),
    ("error", &["proto", "sys"]),
    ("clock", &["sys"]),
    ("driver", &["sys"]),
    ("resolve", &["sys", "error"]),
    ("shard", &["driver", "proto", "sys", "error"]),
    ("host", &["shard", "driver", "sys"]),
    ("mesh", &["host", "shard", "driver", "sys"]),
    ("client", &["mesh", "host", "shard", "driver", "proto", "sys", "error", "resolve"]),
    ("load", &["host", "shard", "driver", "proto", "sys"]),
    ("origin", &["host", "shard", "driver", "proto", "sys"]),
];

/// Names that only some places may use: the beginnings of their paths below `engine/src`.
const FENCED: [(&str, &[&str]); 9] = [
    ("io_uring", &["driver/uring/", "driver/probe"]),
    ("socket2", &["sys/socket.rs", "driver/"]),
    ("core_affinity", &["sys/affinity.rs"]),
    ("httparse", &["proto/", "origin/request.rs"]),
    // Not before there is TLS.
    ("rustls", &[]),
    // `host/mod.rs` names our own module of that name, never the crate.
    ("glommio", &["host/glommio", "host/mod.rs"]),
    ("hdrhistogram", &["load/", "client/batch/summary.rs"]),
    // Nothing here depends on the date.
    ("SystemTime", &[]),
    (
        "unsafe",
        &[
            "sys/",
            "driver/",
            "shard/tasks/owned.rs",
            "shard/tasks/live.rs",
            "shard/tasks/handle.rs",
            "host/glommio",
        ],
    ),
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 600;

/// The source without comments, and with the inside of strings and characters blank; lines stay where they are.
fn code_of(source: &str) -> String {
    let bytes = source.as_bytes();
    let (mut code, mut at) = (String::with_capacity(source.len()), 0);
    while at < bytes.len() {
        let skipped = skipped_bytes(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        let end = at + skipped.max(1);
        for byte in &bytes[at..end] {
            code.push(if skipped > 0 && *byte != b'\n' { ' ' } else { char::from(*byte) });
        }
        at = end;
    }
    code
}

/// Length of the comment, string or character that begins here; 0 if none does.
fn skipped_bytes(rest: &[u8], before: Option<u8>) -> usize {
    let find = |needle: &[u8], from: usize| {
        let found =
            rest.get(from..).and_then(|tail| tail.windows(needle.len()).position(|w| w == needle));
        found.map_or(rest.len(), |place| from + place + needle.len())
    };
    let in_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => find(b"\n", 0) - 1,
        [b'/', b'*', ..] => find(b"*/", 2),
        [b'r', b'"' | b'#', ..] if !in_name => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0;
            }
            find(&[&b"\""[..], &b"#".repeat(hashes)].concat(), 2 + hashes)
        }
        [b'"', ..] => quoted_bytes(rest, b'"'),
        // A lifetime has no closing quote behind its first character.
        [b'\'', b'\\', ..] | [b'\'', _, b'\'', ..] => quoted_bytes(rest, b'\''),
        _ => 0,
    }
}

fn quoted_bytes(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The code without its test modules.
fn without_tests(code: &str) -> String {
    let mut kept = code.to_owned();
    while let Some(start) = kept.find("#[cfg(test)]\nmod ").or_else(|| kept.find("#[cfg(all(test"))
    {
        let open = kept[start..].find(['{', ';']).map_or(kept.len(), |place| start + place);
        let mut depth = 0;
        let end = kept[open..].char_indices().find_map(|(place, letter)| {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            (depth == 0).then_some(open + place + 1)
        });
        kept.replace_range(start..end.unwrap_or(kept.len()), "");
    }
    kept
}

/// The rooms that the code of `path` (below `engine/src`) names, through `crate::` or through enough `super::`.
fn rooms_named(path: &str, code: &str) -> Vec<String> {
    let depth = path.split('/').filter(|part| !matches!(*part, "mod.rs" | "lib.rs")).count();
    let mut rooms = Vec::new();
    for start in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (place, _) in code.match_indices(&start) {
            let deeper = code[..place].ends_with("super::") || code[..place].ends_with(['_', ':']);
            let rest = &code[place + start.len()..];
            if !deeper && !rest.starts_with("super::") {
                rooms.extend(first_names(rest));
            }
        }
    }
    rooms.sort();
    rooms.dedup();
    rooms
}

/// The first name of a path, or of each path in a group.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let Some(group) = rest.trim_start().strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[begin..place]));
                begin = place + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Whether `code` has `name` as a whole name.
fn names(code: &str, name: &str) -> bool {
    let part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    code.match_indices(name).any(|(place, _)| {
        // `crate::driver::uring` is ours; a path that ends in the name is somebody else's.
        !part(code[..place].chars().next_back()) && !part(code[place + name.len()..].chars().next())
    })
}

/// What is wrong with one file, a line each.
fn findings(path: &str, source: &str) -> String {
    let code = without_tests(&code_of(source));
    let mut found = String::new();
    let room = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let rule = ROOMS.iter().find(|(name, _)| *name == room);
    if rule.is_none() && room != "lib" {
        let _ = writeln!(found, "{path}: a room that the house does not have: {room}");
    }
    for named in rooms_named(path, &code) {
        let is_common = COMMON.contains(&named.as_str()) && room != "proto";
        let below = rule.is_none_or(|(_, below)| below.contains(&named.as_str()));
        let is_room = ROOMS.iter().any(|(name, _)| *name == named);
        if is_room && !below && !is_common && named != room {
            let _ = writeln!(found, "{path}: {room} imports {named}, which is not below it");
        }
    }
    for (name, places) in FENCED {
        if names(&code, name) && !places.iter().any(|place| path.starts_with(place)) {
            let _ = writeln!(found, "{path}: {name} is named outside {places:?}");
        }
    }
    let lines = code.lines().count();
    if lines > LINES_MAX {
        let _ = writeln!(found, "{path}: {lines} lines without tests, more than {LINES_MAX}");
    }
    found
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_import_runs_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "{} files in {}", files.len(), root.display());
    let check = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        fs::read_to_string(path).map(|source| findings(&name, &source)).unwrap_or_default()
    };
    let found: String = files.iter().map(check).collect();
    assert_eq!(found, "");
}

/// A permission that nobody uses is a hole in the wall.
#[test]
fn every_permission_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let code = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        (name, without_tests(&code_of(&fs::read_to_string(path).unwrap_or_default())))
    };
    let codes: Vec<(String, String)> = files.iter().map(code).collect();
    let in_room = |name: &str, room: &str| {
        name.split('/').next().unwrap_or_default().trim_end_matches(".rs") == room
    };
    let imports = |room: &str, below: &str| {
        let mut codes = codes.iter().filter(|(name, _)| in_room(name, room));
        codes.any(|(name, code)| rooms_named(name, code).iter().any(|named| named == below))
    };
    let pairs = ROOMS.iter().flat_map(|(room, below)| below.iter().map(move |it| (*room, *it)));
    let unused: Vec<(&str, &str)> = pairs.filter(|(room, below)| !imports(room, below)).collect();
    assert_eq!(unused, []);
    let fenced = FENCED.iter().flat_map(|(name, places)| places.iter().map(move |it| (*name, *it)));
    let is_named = |(name, place): &(&str, &str)| {
        codes.iter().any(|(path, code)| path.starts_with(place) && names(code, name))
    };
    let unused: Vec<(&str, &str)> = fenced.filter(|pair| !is_named(pair)).collect();
    assert_eq!(unused, []);
}

#[test]
fn a_bad_import_is_found() {
    let check = |path: &str, source: &str, words: &str| {
        let found = findings(path, source);
        assert!(found.contains(words) && !found.is_empty(), "{source}: {found:?}");
    };
    check("driver/epoll.rs", "use crate::shard::Shard;", "driver imports shard");
    check("driver/uring/mod.rs", "use super::super::shard;", "driver imports shard");
    check("driver/epoll.rs", "fn x() { super::super::load::run() }", "driver imports load");
    check("proto/h1/machine.rs", "use crate::{clock::Instant, proto::h1};", "proto imports clock");
    check(
        "shard/mod.rs",
        "use crate::{driver::{Op, Slot}, host, sys::Errno};",
        "shard imports host",
    );
    check("clock.rs", "fn x() { crate::driver::x() }", "clock imports driver");
    check("host/thread.rs", "use crate::mesh::Mesh;", "host imports mesh");
    check("sys/socket.rs", "use super::super::driver::Slot;", "sys imports driver");
    check("shard/dial.rs", "use socket2::Socket;", "socket2 is named outside");
    check("driver/epoll.rs", "fn x(_: io_uring::IoUring) {}", "io_uring is named outside");
    check("shard/mod.rs", "fn x() { unsafe { y() } }", "unsafe is named outside");
    check("proto/h1/mod.rs", "use rustls::X;", "rustls is named outside");
    check("attic/mod.rs", "", "does not have: attic");
    check("load/run.rs", &"fn x() {}\n".repeat(601), "601 lines");
}

#[test]
fn good_imports_comments_and_tests_are_not() {
    let check = |path: &str, source: &str| assert_eq!(findings(path, source), "", "{source}");
    check("shard/dial.rs", "use crate::driver::{Driver, Op};\nuse super::{Failure, Shard};");
    check("driver/uring/reaping.rs", "use super::super::Slot; use io_uring::cqueue;");
    check(
        "driver/mod.rs",
        "// crate::shard\n/* crate::load */ const X: &str = \"crate::mesh io_uring\";",
    );
    check("load/run.rs", "use crate::driver::{Uring, uring::Config}; use crate::shard::Shard;");
    check("shard/mod.rs", "#[cfg(test)]\nmod tests { use crate::load; fn x() { unsafe {} } }");
    check("proto/mod.rs", "fn x<'a>(y: &'a str) -> char { '\"' } // socket2");
    check("sys/mod.rs", "const X: &str = r#\"crate::driver\"#; fn y(char: u8) {}");
    check("lib.rs", "pub mod shard; pub use crate::load::run;");
    check("load/run.rs", &format!("#[cfg(test)]\nmod tests {{\n{}}}", "fn x() {}\n".repeat(900)));
}

/// Rooms whose public functions are the library.
const LIBRARY: [&str; 6] = ["client", "error", "resolve", "host", "load", "origin"];

/// The code of the examples in the documentation of a source: they run with the tests.
fn examples_of(source: &str) -> String {
    let mut in_example = false;
    let mut code = String::new();
    for line in source.lines().map(str::trim_start) {
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        match text.map(str::trim_start) {
            Some(text) if text.starts_with("```") => in_example = !in_example,
            Some(text) if in_example => code.extend([text, "\n"]),
            _ => {}
        }
    }
    code
}

/// The names of the public functions of a source.
fn functions_of(source: &str) -> Vec<String> {
    let code = without_tests(&code_of(source));
    let name = |line: &str| {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let rest = rest.trim_start_matches("const ").trim_start_matches("async ");
        let rest = rest.trim_start_matches("unsafe ").strip_prefix("fn ")?;
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
        Some(rest[..end].to_owned())
    };
    code.lines().filter_map(name).collect()
}

#[test]
fn every_function_of_the_library_stands_in_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let read = |folder: &Path| {
        let mut files = Vec::new();
        sources(folder, &mut files);
        let read = |path: &PathBuf| fs::read_to_string(path).expect("it was listed");
        files.iter().map(read).collect::<Vec<String>>()
    };
    let examples: String = read(&root).iter().map(|source| examples_of(source)).collect();
    let sources: Vec<String> = LIBRARY.iter().flat_map(|room| read(&root.join(room))).collect();
    let functions: Vec<String> = sources.iter().flat_map(|source| functions_of(source)).collect();
    assert!(functions.len() > 200, "{} functions", functions.len());
    let unseen = |function: &&String| !names(&examples, function);
    let missing: Vec<&String> = functions.iter().filter(unseen).collect();
    assert_eq!(missing, [] as [&String; 0]);
}

#[test]
fn a_function_without_an_example_is_found() {
    let source = "/// ```\n/// a().b();\n/// ```\n/// c\npub async fn a() {}\n    pub const fn b(self) {}\npub fn c() {}\npub(crate) fn d() {}";
    assert_eq!(functions_of(source), ["a", "b", "c"]);
    let examples = examples_of(source);
    assert!(names(&examples, "a") && names(&examples, "b") && !names(&examples, "c"));
}
