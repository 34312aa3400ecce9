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

fn value(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

/// What the program refuses the schema refuses, as far as the checker of these tests knows its words.
#[test]
fn schema_and_program_refuse_the_same() {
    let schema = schema("scenario.schema.json");
    let check = |text: &str| {
        let text = format!("base_url = 'http://127.0.0.1'\n{text}");
        let found = faults(&schema, &schema, &value(&text), "$");
        assert!(!found.is_empty() && mix(&text).is_err(), "{text}: {:?}", mix(&text));
    };
    let with = |rest: &str| check(&format!("[[request]]\nurl = '/'\n{rest}"));
    with("think = ['1ms', '2ms']");
    with("expect = [404, {}, 'ok']");
    with("expect.status = 99");
    with("expect.status = 1000");
    with("expect.status = []");
    with("expect.headers.X = false");
    with("expect.body_contains = ''");
    with("method = ''");
    with("weight = 0");
    with("weight = 1000001");
    with("chunked = 'yes'");
    with("body = 'a'\nbody_file = 'users.csv'");
    check("request = [['name', 1, 'GET', '/']]");
    check("request = []");
    check("feeds.u = ['users.csv', 'unique']\n[[request]]\nurl = '/'");
    check("order = { weighted = {} }\n[[request]]\nurl = '/'");
    check("seed = -1\n[[request]]\nurl = '/'");
}

#[test]
fn what_no_response_can_meet_is_refused() {
    let mix =
        |rest: &str| mix(&format!("base_url = 'http://127.0.0.1'\n[[request]]\nurl = '/'\n{rest}"));
    let refused = |rest: &str, words: &str| {
        let told = mix(rest).unwrap_err().to_string();
        assert!(told.contains(words) && told.contains("line "), "{rest}: {told}");
    };
    let hash = |digits: &str| format!("expect.body_sha256 = '{digits:0<64}'");
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    refused("method = 'HEAD'\nexpect.body_contains = 'a'", "HEAD has no body");
    refused(&format!("method = 'HEAD'\n{}", hash("ab")), "HEAD has no body");
    refused("expect.status = [204, 304]\nexpect.body_contains = 'a'", "204 or 304 has no body");
    refused(&format!("expect.status = 204\n{}", hash("ab")), "204 or 304 has no body");
    refused("expect.status = '100-199'", "below 200");
    refused("expect.status = [100, '1xx']", "below 200");
    for met in [
        "expect.status = ['1xx', 200]",
        "expect.status = '100-200'",
        "expect.status = [200, 204]\nexpect.body_contains = 'a'",
        "method = 'HEAD'\nexpect.status = 204",
        &format!("method = 'HEAD'\n{}", hash(of_nothing)),
    ] {
        assert!(mix(met).is_ok(), "{met}: {:?}", mix(met));
    }
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
        base_url = "http://127.0.0.1:81/"
        seed = 9
        order = "in_order"
        headers = { Accept = "a", X-Of = "file" }
        [[request]]
        url = "api/items"
        headers = { x-of = "request" }
        think = { min = "10ms", max = "1s" }
        [[request]]
        name = "put"
        method = "PUT"
        url = "http://127.0.0.1:82/y"
        body = "hello"
        chunked = false
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
    assert_eq!((mix.names[0].as_str(), mix.names[1].as_str()), ("GET api/items", "put"));
    assert_eq!((mix.seed, mix.targets.len(), mix.requests[1].target), (9, 2, 1));
    assert!(matches!(mix.order, Order::Cycle));
    let think = Think { min: Duration::from_millis(10), max: Duration::from_secs(1) };
    assert_eq!(mix.requests[0].think, think);
    let expect = mix.requests[1].expect.as_deref().unwrap();
    assert_eq!(expect.statuses, [200..=200, 300..=399]);
    assert_eq!(expect.headers.iter().filter(|header| header.value.is_none()).count(), 1);
    let elsewhere = Settings { base: Some("http://127.0.0.1:83"), ..settings(&network) };
    assert!(bytes(&elsewhere.mix(text).unwrap().requests[0]).starts_with("GET /api/items "));
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
    check(&with("url = '/{{seq}}/a b'"), "line 5: byte 0x20 at 10 of the path");
    check(&with("url = '/'\nmethod = 'CONNECT'"), "line 6: CONNECT asks for no URL");
    check(&with("url = '/'\nmethod = 'TRACE'\nbody = 'x'"), "line 7: a TRACE request cannot have");
    check(
        &with("url = '/'\nbody = 'x'\nchunked = 1"),
        "line 7: invalid type: integer `1`, expected true",
    );
    check(&with("url = '/'\nchunked = true"), "line 6: chunked means nothing without a body");
    check(&with("url = '/'\nweight = 1.5"), "`1.5`, expected a whole number");
    check(&with("url = '/'\nthink = ['1ms', '2ms']"), "line 6: think must be like");
    check(&with("url = '/'\nexpect = [404]"), "line 6: invalid type: sequence, expected a table");
    check(&with("url = '/'\nexpect.headers = { 'X A' = '1' }"), "line 6: no header can have the");
    check(&with("url = '/'\nexpect.headers.'' = true"), "line 6: no header can have the expected");
    check(&with("url = '/'\nexpect.headers.A = ' x'"), "line 6: no header A can have the expected");
    check(&with("url = '/'\nexpect.status = []"), "line 6: status is an empty list");
    check("request = ['a']", "line 1: invalid type: string \"a\", expected a table");
    check("seed = -1", "line 1: invalid value: integer `-1`, expected a whole number from 0");
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
}

#[test]
fn faults_of_the_whole_file_are_told_with_their_line() {
    let check = |text: &str, words: &str| {
        let line = mix(text).unwrap_err().to_string();
        assert!(line.contains(words), "{line}");
    };
    let base = "base_url = 'http://127.0.0.1:1'\n";
    let with = |rest: &str| format!("{base}[[request]]\nurl = '/'\n[[request]]\n{rest}");
    let of_all = format!("{base}[headers]\nX = 'x'\nY = '{{{{z}}}}'\n[[request]]\nurl = '/'");
    check(&of_all, "line 4: header Y has {{z}}");
    check(&with("url = '/'\nheaders = { Host = '{{seq}}' }"), "line 6: header Host can't");
    check("[[request]]\nurl = '/'", "line 2: the URL \"/\" has no host");
    check("[[request]]\nname = 'a'\nurl = 'http://h:0x/'", "line 3: ");
    check(&format!("{base}[feeds.f]\nfile = 'nosuch.csv'\n[[request]]\nurl='/'"), "line 3: can't");
    check(&format!("{base}\n[feeds.'a.b']\nfile = 'users.csv'"), "line 3: a feed can't be called");
    check(&format!("{base}[feeds]\nu = ['users.csv']"), "line 3: invalid type: sequence, expected");
    let of_all = format!("{base}[headers]\nTransfer-Encoding = 'gzip'\n[[request]]\nurl = '/'");
    check(&of_all, "line 3: the header Transfer-Encoding needs");
    let weighted = format!("order = 'in_order'\n{}", with("url = '/'\nweight = 1"));
    check(&weighted, "line 7: weight means nothing with order = \"in_order\"");
    let request = |place: usize| format!("[[request]]\nurl = '/{place}'\n");
    let many: String = (0..=NAMES_MAX).map(request).collect();
    check(&format!("{base}{many}"), "line 130: more than 64 names of requests");
    check(
        "\nbase_url = 'http://h/api'\n[[request]]\nurl = '/'",
        "line 2: the base URL has a path: give http://h alone",
    );
    check(&format!("{base}order = 'any'"), "line 2: unknown variant `any`");
}

#[test]
fn templates_of_a_url_are_found_before_it_is_checked() {
    let check = |url: &str, expected: &str| {
        let text = format!(
            "base_url = 'http://127.0.0.1'\n[feeds.u]\nfile = 'users.csv'\n[[request]]\nurl = '{url}'"
        );
        let told = mix(&text).map_or_else(|failure| failure.to_string(), |_| "sent".to_owned());
        assert!(told.contains(expected), "{url}: {told}");
    };
    for url in ["/{{ seq }}", "/?x={{ u.id }}", "http://127.0.0.1/{{ rand:1: 9 }}", "{{ uuid }}"] {
        check(url, "sent");
    }
    check("/{{u.first name}}", "line 5: the path has {{u.first name}}, but the feed has no such");
    check("/{{u.\u{e9}}}", "line 5: the path has {{u.\u{e9}}}, but the feed has no such");
    check("/{{seq x", "line 5: the path has {{ without }}");
}

#[test]
fn headers_of_the_command_line_are_blamed_on_it() {
    let text = "base_url = 'http://127.0.0.1'\n[headers]\nConnection = 'Keep-Alive'\n[[request]]\nurl = '/'";
    let network = NetworkArgs::default();
    let headers = vec![(b"X A".to_vec(), b"b".to_vec())];
    let line = Settings { headers, ..settings(&network) }.mix(text).unwrap_err().to_string();
    assert!(line.contains(": --header: the header name \"X A\""), "{line}");
    let closing = Settings { keep_alive: KeepAlive::Off, ..settings(&network) };
    let line = closing.mix(text).unwrap_err().to_string();
    assert!(line.contains("line 3: --no-keepalive says Connection: close"), "{line}");
}

#[test]
fn a_chunked_body_is_sent_in_chunks() {
    let text =
        "[[request]]\nurl = 'http://127.0.0.1/'\nmethod = 'PUT'\nbody = 'hello'\nchunked = true";
    let put = bytes(&mix(text).unwrap().requests[0]);
    assert!(put.ends_with("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{put}");
}
