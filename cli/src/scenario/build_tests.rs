//! Scenario files against mixes, `docs/scenario.md` and the schema.

use std::time::Duration;

use serde_json::Value;

use super::super::testing::settings;
use super::*;
use crate::output::json::tests::{faults, schema};

fn mix(text: &str) -> Result<Mix, Failure> {
    settings(&NetworkArgs::default()).mix(text)
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The bytes of a request without places.
fn bytes(request: &MixRequest) -> String {
    let Content::Fixed(template) = &request.content else { panic!("{request:?}") };
    String::from_utf8_lossy(template.bytes()).into_owned()
}

#[test]
fn the_example_is_what_the_document_shows_and_fits_the_schema() {
    let text = document("example/shop.toml");
    assert!(document("scenario.md").contains(&text), "docs/scenario.md shows another example");
    let mix = mix(&text).unwrap();
    assert_eq!(mix.names, ["front page", "item", "order"]);
    let weights: Vec<u32> = mix.requests.iter().map(|request| request.weight).collect();
    assert_eq!((weights, mix.feeds.len(), mix.targets.len()), (vec![5, 4, 1], 1, 1));
    let value: toml::Value = toml::from_str(&text).unwrap();
    let (schema, value) = (schema("scenario.schema.json"), serde_json::to_value(value).unwrap());
    assert_eq!(faults(&schema, &schema, &value, "$"), Vec::<String>::new());
}

/// What stands between backticks, but for `unknown`.
fn quoted(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter(|name| *name != "unknown").collect();
    names.sort_unstable();
    names
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = schema("scenario.schema.json");
    let check = |pointer: &str, text: &str| {
        let line = file::parse(text).unwrap_err().to_string();
        let described = schema.pointer(pointer).unwrap()["properties"].as_object().unwrap();
        let mut described: Vec<&str> = described.keys().map(String::as_str).collect();
        described.sort_unstable();
        assert_eq!(quoted(&line), described, "{pointer}: {line}");
    };
    check("", "unknown = 1");
    check("/$defs/feed", "feeds.f = { unknown = 1 }");
    check("/$defs/request", "request = [{ unknown = 1 }]");
    check("/$defs/expect", "request = [{ url = '/', expect = { unknown = 1 } }]");
    let value = |text: &str| -> Value {
        serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
    };
    let wrong = value("order = 'any'\nrequest = [{ think = { min = 1 } }]");
    let found = faults(&schema, &schema, &wrong, "$").join("\n");
    for part in [
        "$.order is none of",
        "request[0].\"url\" is missing",
        "think.\"max\" is missing",
        "min is no",
    ] {
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn requests_are_built_with_defaults_and_overrides() {
    let text = r#"
        base_url = "http://127.0.0.1:81/api/"
        seed = 9
        order = "in_order"
        headers = { Accept = "a", X-Of = "file" }
        [[request]]
        url = "items"
        headers = { x-of = "request" }
        think = { min = "10ms", max = "1s" }
        [[request]]
        name = "put"
        method = "PUT"
        url = "http://127.0.0.1:82/y"
        body = "hello"
        expect = { status = [200, "3xx"], headers = { A = "1", B = true }, body_contains = "x" }
    "#;
    let network = NetworkArgs::default();
    let headers = vec![(b"accept".to_vec(), b"b".to_vec())];
    let mix = Settings { headers, ..settings(&network) }.mix(text).unwrap();
    let first =
        "GET /api/items HTTP/1.1\r\nHost: 127.0.0.1:81\r\nx-of: request\r\naccept: b\r\n\r\n";
    assert_eq!(bytes(&mix.requests[0]), first);
    let put = bytes(&mix.requests[1]);
    assert!(put.starts_with("PUT /y HTTP/1.1\r\nHost: 127.0.0.1:82\r\nX-Of: file\r\n"), "{put}");
    assert!(put.ends_with("Content-Length: 5\r\n\r\nhello"), "{put}");
    assert_eq!((mix.names[0].as_str(), mix.names[1].as_str()), ("GET items", "put"));
    assert_eq!((mix.seed, mix.targets.len(), mix.requests[1].target), (9, 2, 1));
    assert!(matches!(mix.order, Order::Cycle));
    let think = Think { min: Duration::from_millis(10), max: Duration::from_secs(1) };
    assert_eq!(mix.requests[0].think, think);
    let expect = mix.requests[1].expect.as_deref().unwrap();
    assert_eq!(expect.statuses, [200..=200, 300..=399]);
    assert_eq!(expect.headers.iter().filter(|header| header.value.is_none()).count(), 1);
    let elsewhere = Settings { base: Some("http://127.0.0.1:83"), ..settings(&network) };
    assert!(bytes(&elsewhere.mix(text).unwrap().requests[0]).starts_with("GET /items "));
}

#[test]
fn faults_are_told_with_their_line() {
    let check = |text: &str, words: &str| {
        let line = mix(text).unwrap_err().to_string();
        assert!(line.contains(words), "{line}");
    };
    let base = "base_url = 'http://127.0.0.1:1'\n";
    let with = |rest: &str| format!("{base}[[request]]\nurl = '/'\n[[request]]\n{rest}");
    check("", "it has no [[request]]");
    check("a = ", "line 1: ");
    check("\nbase_url = 'ftp://h'\n[[request]]\nurl = '/'", "line 2: ");
    check(&with("url = 1"), "line 5: invalid type: integer `1`, expected a string");
    check(&with("url = '/'\nmethd = 'GET'"), "line 6: unknown field `methd`");
    check(&with("name = 'a'\nurl = '/{{sq}}'"), "line 6: the path has {{sq}}");
    check(&with("url = '/'\nmethod = 'G T'"), "line 6: \"G T\" is not a method");
    check(&with("url = '/'\nweight = 0"), "line 6: weight must be 1 to 1000000, not 0");
    check(&with("url = '/'\n\nweight = -1"), "line 7: weight must be 1 to 1000000, not -1");
    check(
        &with("url = '/'\nname = \"a\\tb\""),
        "line 6: the name \"a\\tb\" has a control character",
    );
    check(&with("url = '/'\nbody = 'a'\nbody_file = 'b'"), "line 7: it has both a body and a");
    check(&with("url = '/'\nbody_file = 'nosuch'"), "line 6: can't read");
    check(&with("url = '/'\nbody = '{{'"), "line 6: the body has {{ without }}");
    check(&with("url = '/'\nthink = 5"), "line 6: think must be like \"100ms\"");
    check(&with("url = '/'\nthink = 'soon'"), "line 6: \"soon\" is not a duration");
    check(&with("url = '/'\nexpect.status = [\n200,\n'xx']"), "line 8: \"xx\" is no status");
    check(&with("url = '/'\n[request.expect]\nstatus = 'xx'"), "line 7: \"xx\" is no status");
    check(&with("url = '/'\nexpect.status = 70000"), "line 6: a status must be like 200");
    check(
        &with("url = '/'\nexpect.status = true"),
        "line 6: invalid type: boolean `true`, expected a status, like",
    );
    check(&with("url = '/'\n[request.expect.headers]\nA = false"), "line 7: expected header A is");
    check(&with("url = '/'\nexpect = { body_sha256 = 'ab' }"), "line 6: body_sha256 must be 64");
    check(&with("url = '/'\n[request.expect]\nbody_contains = ''"), "line 7: body_contains must");
    check(
        &with("url = '/'\n[request.headers]\nB = 'b'\nA = \"a\\r\\nB: b\""),
        "line 8: byte 0x0d in the value of header A is not allowed",
    );
    let of_all = format!("{base}[headers]\nX = 'x'\nY = '{{{{z}}}}'\n[[request]]\nurl = '/'");
    check(&of_all, "line 4: header Y has {{z}}");
    check(&with("url = '/'\nheaders = { Host = '{{seq}}' }"), "line 6: header Host can't");
    check("[[request]]\nurl = '/'", "line 2: the URL \"/\" has no host");
    check("[[request]]\nname = 'a'\nurl = 'http://h:0x/'", "line 3: ");
    check(&format!("{base}[feeds.f]\nfile = 'nosuch.csv'\n[[request]]\nurl='/'"), "line 3: can't");
    check(&format!("{base}order = 'any'"), "line 2: unknown variant `any`");
}
