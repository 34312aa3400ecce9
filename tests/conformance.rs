//! Responses from the test suites of other HTTP implementations, each whole, cut in two at every
//! place, and byte by byte, with a cold and a warm memo. The cases are read from a shared folder and
//! are no part of this project; where it is absent the test says so and passes.

use std::io::Write;
use std::path::PathBuf;

use ringshot::proto::h1::{
    Error, Event, Head, HeadMemo, Limits, Machine, MethodKind, Sent, Trailers,
};
use serde::Deserialize;

type Pairs = Vec<(String, String)>;

#[derive(Deserialize)]
struct Case {
    id: String,
    method: String,
    raw_base64: String,
    raw_crlf_base64: Option<String>,
    expected_status: Option<u16>,
    expected_headers: Option<Pairs>,
    expected_headers_subset: Option<Pairs>,
    expected_body_base64: Option<String>,
    expected_trailers: Option<Pairs>,
    expect_error: bool,
    keep_alive: Option<bool>,
    strictness: String,
}

/// What the machine made of a case.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    status: Option<u16>,
    headers: Pairs,
    body: Vec<u8>,
    trailers: Pairs,
    error: Option<Error>,
    /// Whether the connection was good for another request when the response ended.
    kept: bool,
    ended: bool,
}

fn cases_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/cases.jsonl")
}

/// Plain base64 with padding: all that the cases use.
fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = alphabet.iter().position(|known| *known == byte).unwrap_or_default() as u32;
        bits = bits << 6 | value;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Outcome {
    fn take_head(&mut self, head: &Head<'_>) {
        self.status = Some(head.status());
        self.headers = head.fields().map(|(name, value)| (text(name), text(value))).collect();
    }

    fn take_trailers(&mut self, trailers: Trailers<'_>) {
        let framing = [&b"transfer-encoding"[..], b"content-length", b"trailer"];
        assert!(trailers.fields().all(|field| !framing.contains(&field.0)), "forbidden trailers");
        self.trailers = trailers.as_sent().map(|(name, value)| (text(name), text(value))).collect();
    }

    /// Polls until nothing more is told; after an error nothing counts.
    fn take_part(&mut self, machine: &mut Machine, part: &[u8], memo: &mut HeadMemo) {
        let mut rest = part;
        while self.error.is_none() {
            match machine.poll(rest, memo) {
                Ok((_, Event::NeedMore)) => return,
                Ok((consumed, event)) => {
                    rest = &rest[consumed..];
                    self.take_event(&event);
                }
                // Bytes after the end make the connection useless, not the response.
                Err(Error::Unsolicited) if self.ended => {
                    self.kept = false;
                    return;
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn take_event(&mut self, event: &Event<'_>) {
        match event {
            Event::NeedMore | Event::Interim(_) => {}
            Event::Head(head) => self.take_head(head),
            Event::Data(data) => self.body.extend_from_slice(data),
            Event::Trailers(trailers) => self.take_trailers(*trailers),
            Event::End(end) => {
                self.ended = true;
                self.kept = end.is_ok();
            }
        }
    }
}

fn run(method: &str, parts: &[&[u8]], memo: &mut HeadMemo) -> Outcome {
    let method = match method {
        "HEAD" => MethodKind::Head,
        "CONNECT" => MethodKind::Connect,
        _ => MethodKind::Other,
    };
    let mut machine = Machine::new(&Limits::default());
    assert_eq!(machine.handle_request(Sent { method, ..Sent::default() }), Ok(()));
    let mut outcome = Outcome::default();
    for part in parts {
        outcome.take_part(&mut machine, part, memo);
    }
    if outcome.error.is_none() {
        outcome.error = machine.handle_eof().err();
        assert!(machine.close_reason().is_some(), "a closed connection is never reused");
    }
    outcome
}

/// Places to cut at: all of them, or the first and last few hundred of a long case.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (1..length).filter(move |at| *at < 400 || at + 100 > length)
}

fn assert_cut_anywhere(case: &Case, raw: &[u8], whole: &Outcome) {
    let bytes: Vec<&[u8]> = raw.chunks(1).collect();
    let mut warm = HeadMemo::new();
    assert_eq!(&run(&case.method, &[raw], &mut warm), whole, "{}", case.id);
    assert_eq!(&run(&case.method, &[raw], &mut warm), whole, "{}: warm", case.id);
    assert_eq!(&run(&case.method, &bytes, &mut warm), whole, "{}: byte by byte", case.id);
    for at in cuts(raw.len()) {
        let parts = [&raw[..at], &raw[at..]];
        let cold = run(&case.method, &parts, &mut HeadMemo::new());
        assert_eq!(&cold, whole, "{}: cut at {at}, cold", case.id);
        assert_eq!(&run(&case.method, &parts, &mut warm), whole, "{}: cut at {at}, warm", case.id);
    }
}

/// What of the case the outcome does not agree with.
fn disagreements(case: &Case, outcome: &Outcome) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    let mut note = |agrees: bool, what| wrong.extend((!agrees).then_some(what));
    note(outcome.error.is_some() == case.expect_error, "error");
    note(case.expected_status.is_none_or(|status| outcome.status == Some(status)), "status");
    note(case.expected_headers.as_ref().is_none_or(|all| *all == outcome.headers), "headers");
    let subset = case.expected_headers_subset.as_deref().unwrap_or_default();
    let has = |pairs: &Pairs, (name, value): &(String, String)| {
        pairs.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value)
    };
    note(subset.iter().all(|pair| has(&outcome.headers, pair)), "header subset");
    let body = case.expected_body_base64.as_deref().map(decode_base64);
    note(case.expect_error || body.is_none_or(|body| body == outcome.body), "body");
    let trailers = case.expected_trailers.as_deref().unwrap_or_default();
    note(trailers.iter().all(|pair| has(&outcome.trailers, pair)), "trailers");
    note(case.keep_alive.is_none_or(|kept| outcome.kept == kept), "keep-alive");
    wrong
}

/// Past the test harness, which would swallow it when the test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn the_cases_of_other_implementations() {
    let Ok(lines) = std::fs::read_to_string(cases_path()) else {
        say(&format!("SKIPPED: there are no conformance cases at {}", cases_path().display()));
        return;
    };
    let (mut musts, mut policies, mut failures) = (0, (0, 0), Vec::new());
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let case: Case = serde_json::from_str(line).expect("a case");
        let raw_crlf = case.raw_crlf_base64.as_ref().filter(|_| case.strictness == "must");
        for raw in [Some(&case.raw_base64), raw_crlf].into_iter().flatten() {
            let raw = decode_base64(raw);
            let outcome = run(&case.method, &[&raw], &mut HeadMemo::new());
            assert_cut_anywhere(&case, &raw, &outcome);
            let wrong = disagreements(&case, &outcome);
            if case.strictness == "must" {
                musts += 1;
                if !wrong.is_empty() {
                    failures.push(format!("{}: {wrong:?}: {outcome:?}", case.id));
                }
            } else {
                policies.0 += 1;
                policies.1 += usize::from(wrong.is_empty());
            }
        }
    }
    say(&format!("{musts} must, {} of {} policy cases agree", policies.1, policies.0));
    assert!(failures.is_empty(), "{} of {musts}:\n{}", failures.len(), failures.join("\n"));
    assert!(musts >= 127, "only {musts} cases");
}
