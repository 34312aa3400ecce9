//! What `-o json` prints of real runs, against the contract and `docs/schema`.

use std::path::Path;

use serde_json::Value;

use super::program::{Program, Server, command, drivers, io_uring_works, ringshot};

/// The keys of `run` that others rely on, with their kinds as JSON Schema names them.
const CONTRACT: [(&str, &str); 13] = [
    ("requests", "integer"),
    ("errors", "integer"),
    ("seconds", "number"),
    ("requests_per_second", "number"),
    ("bytes_per_second", "number"),
    ("cpu_us_per_request", "number"),
    ("latency_us", "object"),
    ("status", "object"),
    ("outcomes", "object"),
    ("cores", "array"),
    ("driver", "string"),
    ("host", "string"),
    ("resident_bytes_max", "integer"),
];

const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99_9", "p99_99", "max"];

#[test]
fn a_timed_run_keeps_the_contract() {
    let hosts = if io_uring_works() { &["thread", "glommio"][..] } else { &["thread"] };
    for (driver, host) in drivers().into_iter().flat_map(|d| hosts.iter().map(move |h| (d, *h))) {
        let server = Server::start(&[]);
        let load = ["run", &server.url, "-d", "1s", "-c", "4", "-o", "json"];
        let args = [&load[..], &["--driver", driver, "--host", host]].concat();
        let value = ringshot(&args).json_with_code(0);
        check_schema("run.schema.json", &value);
        for (key, kind) in CONTRACT {
            assert!(is_a(kind, &value[key]), "{key}: {value:#}");
        }
        assert_eq!((&value["driver"], &value["host"]), (&driver.into(), &host.into()));
        assert!(!value["cores"].as_array().expect("cores").is_empty(), "{value:#}");
        check_figures(&value);
        // What came after the end was not measured, but was served.
        assert!(server.stop() >= value["requests"].as_u64().expect("a count"));
    }
}

#[test]
fn a_result_is_shown_in_the_letters_of_the_locale() {
    let server = Server::start(&[]);
    let saved = ringshot(&["run", &server.url, "-n", "500", "-c", "2", "-q", "-o", "json"]);
    let file = std::env::temp_dir().join(format!("ringshot-letters-{}", std::process::id()));
    std::fs::write(&file, saved.stdout).expect("a file");
    let shown = |locale: [&str; 3], format: &str| {
        let mut report = command(&["report", &file.to_string_lossy(), "-o", format]);
        let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
        report.envs(variables.into_iter().zip(locale));
        let ended = Program::spawn(&mut report).wait();
        assert_eq!(ended.code(), Some(0), "{ended:#?}");
        ended.stdout
    };
    for locale in [["", "", ""], ["", "", "C.UTF-8"], ["en_US.utf8", "C", "C"]] {
        let text = shown(locale, "text");
        assert!(text.contains('█'), "{locale:?}: {text}");
    }
    for locale in [["", "", "C"], ["POSIX", "", "C.UTF-8"], ["", "de_DE@euro", ""]] {
        let text = shown(locale, "text");
        assert!(text.is_ascii() && text.contains("##"), "{locale:?}: {text}");
    }
    // Formats for programs say themselves what they are written in.
    assert_eq!(shown(["C", "", ""], "html"), shown(["", "", ""], "html"));
    std::fs::remove_file(file).expect("it is there");
}

/// Figures of a healthy run fit each other.
fn check_figures(value: &Value) {
    let number = |value: &Value| value.as_f64().expect("a number");
    let latency = PERCENTILES.map(|key| number(&value["latency_us"][key]));
    assert!(latency[0] > 0.0 && latency.is_sorted(), "{latency:?}");
    let mean = number(&value["latency_us"]["mean"]);
    assert!(mean > 0.0 && mean <= latency[5], "{mean} {latency:?}");
    let requests = number(&value["requests"]);
    let seconds = number(&value["seconds"]);
    assert!(requests > 0.0 && seconds >= 0.99, "{value:#}");
    let rate = number(&value["requests_per_second"]);
    assert!((rate * seconds / requests - 1.0).abs() < 1e-6, "{value:#}");
    // A head and a body of 13 bytes each.
    assert!(number(&value["bytes_per_second"]) > 13.0 * rate, "{value:#}");
    assert!(number(&value["cpu_us_per_request"]) > 0.0, "{value:#}");
    assert!(number(&value["resident_bytes_max"]) > 1e6, "{value:#}");
    assert_eq!((&value["errors"], &value["interrupted"]), (&0.into(), &false.into()));
    assert_eq!(value["connections_opened"], 4);
}

#[test]
fn text_names_the_same_figures() {
    let server = Server::start(&[]);
    let ended = ringshot(&["run", &server.url, "-n", "200", "-c", "2"]);
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    for part in [
        "Requests 200 in ",
        "Errors   0",
        "p99   ",
        "2xx 200",
        "successful requests",
        "us a request",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    assert_eq!(server.stop(), 200);
}

#[test]
fn a_saved_result_is_shown_again_and_merged() {
    let server = Server::start(&[]);
    let directory = std::env::temp_dir().join(format!("ringshot-saved-{}", std::process::id()));
    let path = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
    let ended =
        ringshot(&["run", &server.url, "-n", "200", "-c", "2", "-q", "--out-dir", &path("one")]);
    assert_eq!(ended.code(), Some(0), "{ended:#?}");
    let saved = path("one/result.json");
    let text = std::fs::read_to_string(path("one/summary.txt")).expect("the text");
    assert_eq!((&ended.stdout, &ringshot(&["report", &saved]).stdout), (&text, &text));
    let again = ringshot(&["report", &saved, "-o", "json"]).stdout;
    assert_eq!(again, std::fs::read_to_string(&saved).expect("the JSON"));
    let both = ringshot(&["report", &saved, &saved, "-o", "json"]).json_with_code(0);
    assert_eq!((&both["requests"], &both["latency_us"]["samples"]), (&400.into(), &400.into()));
    check_schema("run.schema.json", &both);
    assert_eq!(server.stop(), 200);
    std::fs::remove_dir_all(directory).expect("it is ours");
}

/// Every key of `value` is described, every required key is there, every type fits.
pub(crate) fn check_schema(name: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(faults(&schema, &schema, value, "$"), Vec::<String>::new(), "{value:#}");
}

/// As in the unit tests of `output`: stricter than JSON Schema, which lets unknown keys pass.
fn faults(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).expect("a definition");
        return faults(root, target, value, path);
    }
    let mut found = own_faults(schema, value, path);
    for (key, inner) in value.as_object().into_iter().flatten() {
        let described = schema["properties"].get(key).or(schema.get("additionalProperties"));
        let path = format!("{path}.{key}");
        match described {
            Some(described) => found.extend(faults(root, described, inner, &path)),
            None => found.push(format!("{path} is not described")),
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(root, &schema["items"], inner, &format!("{path}[{index}]")));
    }
    found
}

fn own_faults(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !list(&schema["type"]).iter().any(|kind| is_a(kind.as_str().expect("a kind"), value)) {
        found.push(format!("{path} is no {}: {value}", schema["type"]));
    }
    if schema.get("enum").is_some_and(|allowed| !list(allowed).contains(value)) {
        found.push(format!("{path} is none of {}: {value}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{path} is not {}: {value}", schema["const"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        found.push(format!("{path} is below {least}: {value}"));
    }
    // Null stands for an object that is not there.
    let required = schema.get("required").filter(|_| value.is_object());
    for key in required.map(list).unwrap_or_default() {
        if value.get(key.as_str().expect("a key")).is_none() {
            found.push(format!("{path}.{key} is missing"));
        }
    }
    found
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn is_a(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown kind {other}"),
    }
}
