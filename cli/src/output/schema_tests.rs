//! What is printed against `docs/schema`: every key is described, every required key is there, types fit.

use std::path::Path;

use ringshot::load::{NameReport, SocketsReport, StageReport};
use serde_json::Value;

use super::*;
use crate::output::sample;

/// Every way in which `value` leaves `schema`; stricter than JSON Schema, which lets unknown keys pass.
pub(crate) fn faults(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target =
            root.pointer(name.trim_start_matches('#')).expect("the reference leads somewhere");
        return faults(root, target, value, path);
    }
    let mut found = own_faults(schema, value, path);
    for (key, inner) in value.as_object().into_iter().flatten() {
        let described =
            schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
        match described {
            Some(described) => {
                found.extend(faults(root, described, inner, &format!("{path}.{key}")));
            }
            None => found.push(format!("{path}.{key} is not described")),
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        let place = format!("{path}[{index}]");
        match schema.get("items") {
            Some(described) => found.extend(faults(root, described, inner, &place)),
            None => found.push(format!("{place} is not described")),
        }
    }
    found
}

fn own_faults(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !list(&schema["type"]).iter().any(|kind| is_a(kind, value)) {
        found.push(format!("{path} is no {}: {value}", schema["type"]));
    }
    if schema.get("enum").is_some_and(|allowed| !list(allowed).contains(value)) {
        found.push(format!("{path} is none of {}: {value}", schema["enum"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{path} is not {}: {value}", schema["const"]));
    }
    if schema.get("not").is_some_and(|not| own_faults(not, value, path).is_empty()) {
        found.push(format!("{path} is what it must not be: {value}"));
    }
    let length = |value: &Value| match value {
        Value::String(text) => Some(text.chars().count() as u64),
        Value::Array(list) => Some(list.len() as u64),
        number => number.as_u64(),
    };
    let size = |key: &str, of: fn(&Value) -> bool| {
        schema.get(key).and_then(Value::as_u64).zip(length(value).filter(|_| of(value)))
    };
    let lengths = [
        size("minimum", Value::is_number),
        size("minLength", Value::is_string),
        size("minItems", Value::is_array),
    ];
    let too_small = lengths.into_iter().flatten().any(|(least, it)| it < least);
    if too_small || size("maximum", Value::is_number).is_some_and(|(most, it)| it > most) {
        found.push(format!("{path} is too small or too large: {value}"));
    }
    for key in schema.get("required").map(list).unwrap_or_default() {
        if value.is_object() && value.get(key.as_str().unwrap()).is_none() {
            found.push(format!("{path}.{key} is missing"));
        }
    }
    found
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn is_a(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("every schema here names its type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

pub(crate) fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn check(schema_name: &str, text: &str) -> Value {
    let schema = schema(schema_name);
    let value = serde_json::from_str(text).unwrap();
    assert_eq!(faults(&schema, &schema, &value, "$"), Vec::<String>::new());
    assert!(text.ends_with("}\n"));
    value
}

fn run_text() -> String {
    let mut document = sample::open_loop();
    let report = &mut document.report;
    report.outcomes.insert("reset".to_owned(), 1);
    report.error_causes.insert("reset ECONNRESET".to_owned(), 1);
    report.error_examples.insert("reset".to_owned(), "connection reset".to_owned());
    report.error_cause_examples =
        [("reset ECONNRESET".to_owned(), "connection reset".to_owned())].into();
    report.latency_us.p99_99_interval = [4_400.0, f64::INFINITY];
    report.sockets = Some(SocketsReport::default());
    report.names = vec![NameReport {
        name: "home".to_owned(),
        requests: 7,
        errors: 1,
        latency_us: report.latency_us,
        histogram: report.histograms.schedule_lag.clone(),
        censored_histogram: report.histograms.censored_response.clone(),
        ..NameReport::default()
    }];
    report.stages = Some(vec![StageReport::default()]);
    report.cores[0].machine = "left".to_owned();
    document.machines = vec!["left".to_owned()];
    run(&document)
}

#[test]
fn run_fits_its_schema() {
    let value = check("run.schema.json", &run_text());
    let contract = [
        "requests",
        "errors",
        "seconds",
        "requests_per_second",
        "bytes_per_second",
        "cpu_us_per_request",
        "latency_us",
        "status",
        "outcomes",
        "cores",
        "driver",
        "resident_bytes_max",
        "url",
        "connections",
        "pipeline",
        "ringshot_version",
        "offered",
        "sent",
        "shed",
        "late",
        "censored",
        "response_time_us",
        "service_time_us",
        "schedule_lag_us",
        "verdict",
        "timeline",
        "thresholds",
    ];
    for key in contract {
        assert!(value.get(key).is_some(), "{key}");
    }
    for time in ["latency_us", "response_time_us", "service_time_us"] {
        for key in ["mean", "p50", "p90", "p99", "p99_9", "p99_99", "max"] {
            assert!(value[time][key].is_f64(), "{time}.{key}");
        }
    }
    for key in ["limit", "valid", "evidence"] {
        assert!(value["verdict"].get(key).is_some(), "{key}");
    }
}

#[test]
fn an_upper_end_that_is_not_there_is_null_and_read_back() {
    let value = check("run.schema.json", &run_text());
    assert_eq!(value["latency_us"]["p99_99_interval"], serde_json::json!([4_400.0, null]));
    let read: RunDocument = serde_json::from_str(&run_text()).unwrap();
    assert_eq!(read.report.latency_us.p99_99_interval, [4_400.0, f64::INFINITY]);
    assert!(read.report.latency_us.p99_9_interval[1].is_finite());
}

#[test]
fn samples_that_are_not_there_take_no_room() {
    let value: Value = serde_json::from_str(&run(&sample::document())).unwrap();
    assert_eq!(value["histograms"], serde_json::json!({ "response_time": {}, "service_time": {} }));
    assert!(value["cores"][0].get("machine").is_none());
}

#[test]
fn compare_fits_its_schema() {
    let value = check("compare.schema.json", &sample::with_document(compare));
    assert_eq!(value["contestants"].as_array().unwrap().len(), 2);
    assert_eq!(value["contestants"][0]["name"], "io_uring");
    assert_eq!(value["contestants"][1]["rounds"].as_array().unwrap().len(), 7);
    for key in ["metric", "of", "to", "median", "low", "high", "contains_one"] {
        assert!(value["ratios"][0].get(key).is_some(), "{key}");
    }
}

#[test]
fn the_walker_finds_what_leaves_the_schema() {
    let schema = schema("run.schema.json");
    let fault = |change: fn(&mut Value)| {
        let mut value = serde_json::from_str(&run_text()).unwrap();
        change(&mut value);
        faults(&schema, &schema, &value, "$").join("; ")
    };
    assert_eq!(fault(|v| v["news"] = 1.into()), "$.news is not described");
    assert_eq!(
        fault(|v| v["driver"] = "kqueue".into()),
        "$.driver is none of [\"io_uring\",\"epoll\",\"mixed\"]: \"kqueue\""
    );
    assert_eq!(
        fault(|v| v["cores"][0]["busy"] = "very".into()),
        "$.cores[0].busy is no \"number\": \"very\""
    );
    assert_eq!(
        fault(|v| v["latency_us"] = serde_json::json!({})).matches("is missing").count(),
        22
    );
}
