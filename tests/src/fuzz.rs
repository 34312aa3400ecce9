//! The bodies of the fuzz targets. They stand here, and not in the targets, so that an ordinary test
//! runs them over the committed corpora. Each asserts what must hold for any bytes at all: no panic,
//! never more taken than given, always an end, the same result however the bytes are cut and
//! whatever the memo holds, and the fast path equal to the slow one.

use ringshot::proto::h1::{
    ChunkError, ChunkedDecoder, Eof, Error, Event, HeadMemo, Limits, Machine, MethodKind, Piece,
    Sent, Status, Whole, parse_head,
};
use ringshot::proto::url::Url;

/// Inputs are cut at every place up to this length, and at a few places beyond.
const CUTS_MAX: usize = 256;

/// Small limits, so that a fuzzer reaches them.
const LIMITS: Limits =
    Limits { head_bytes_max: 400, line_bytes_max: 200, trailer_bytes_max: 100, fields_max: 8 };

/// One response to a plain request.
pub fn response_head(raw: &[u8]) {
    check_machine(&[Sent::default()], raw);
    if let Ok(Status::Complete(summary)) = parse_head(raw, &LIMITS) {
        let head = &raw[..summary.head_bytes as usize];
        assert_eq!(parse_head(head, &LIMITS), Ok(Status::Complete(summary)), "the head alone");
        for end in 0..head.len() {
            assert_eq!(parse_head(&head[..end], &LIMITS), Ok(Status::Partial), "cut at {end}");
        }
    }
}

/// The responses to a few requests on one connection: the first byte says how many and which.
pub fn machine(raw: &[u8]) {
    let Some((plan, raw)) = raw.split_first() else { return };
    let kind = |bit: u8| if plan >> bit & 1 == 1 { MethodKind::Head } else { MethodKind::Other };
    let sent: Vec<Sent> = (0..plan >> 5 & 3)
        .map(|request| Sent { method: kind(request), ..Sent::default() })
        .chain(
            (plan & 0x80 != 0).then_some(Sent { method: MethodKind::Connect, ..Sent::default() }),
        )
        .collect();
    check_machine(&sent, raw);
}

/// One chunked body.
pub fn chunked_body(raw: &[u8]) {
    let whole = decode(&[raw]);
    for parts in cuts(raw) {
        assert_eq!(decode(&parts), whole, "cut after {} bytes", parts[0].len());
    }
    assert_eq!(decode(&raw.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
}

/// One URL: the parts of what parses hold nothing that could split a request, and parse again.
pub fn url(raw: &[u8]) {
    let Ok(text) = std::str::from_utf8(raw) else { return };
    let Ok(url) = Url::parse(text) else { return };
    let safe = |part: &str| part.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(safe(&url.authority) && safe(&url.target) && safe(&url.host), "{url:?}");
    assert!(url.target.starts_with('/') && !url.target.contains('#') && url.port != 0, "{url:?}");
    let again = Url::parse(&format!("http://{}{}", url.authority, url.target));
    assert_eq!(again.map(|again| (again.authority, again.target)), Ok((url.authority, url.target)));
}

fn cuts(raw: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
    let step = raw.len() / CUTS_MAX + 1;
    (1..raw.len()).step_by(step).map(|at| [&raw[..at], &raw[at..]])
}

/// The body so far, and how the decoding ended.
fn decode(parts: &[&[u8]]) -> (Vec<u8>, Result<&'static str, ChunkError>) {
    let (mut decoder, mut body) = (ChunkedDecoder::new(), Vec::new());
    for part in parts {
        let mut rest = *part;
        loop {
            let (consumed, piece) = match decoder.decode(rest) {
                Ok(decoded) => decoded,
                Err(error) => return (body, Err(error)),
            };
            rest = &rest[consumed..];
            match piece {
                Piece::NeedMore => break,
                Piece::Data(data) => body.extend_from_slice(data),
                Piece::Trailers => return (body, Ok("trailers")),
                Piece::End => return (body, Ok("end")),
            }
        }
        assert!(rest.is_empty(), "the decoder wants more and left {} bytes", rest.len());
    }
    (body, Ok("more"))
}

fn check_machine(sent: &[Sent], raw: &[u8]) {
    let mut memo = HeadMemo::new();
    let whole = transcribe(sent, &[raw], &mut memo);
    assert_eq!(transcribe(sent, &[raw], &mut memo), whole, "whole, warm memo");
    for parts in cuts(raw) {
        let at = parts[0].len();
        assert_eq!(transcribe(sent, &parts, &mut HeadMemo::new()), whole, "cut at {at}, cold memo");
        assert_eq!(transcribe(sent, &parts, &mut memo), whole, "cut at {at}, warm memo");
    }
    let bytes: Vec<&[u8]> = raw.chunks(1).collect();
    assert_eq!(transcribe(sent, &bytes, &mut memo), whole, "byte by byte");
    check_fast_path(sent, raw, &mut memo);
}

fn machine_for(sent: &[Sent]) -> Machine {
    let mut machine = Machine::new(&LIMITS);
    for one in sent {
        assert_eq!(machine.handle_request(*one), Ok(()));
    }
    machine
}

fn check_fast_path(sent: &[Sent], raw: &[u8], memo: &mut HeadMemo) {
    let (mut fast, mut slow, mut rest) = (machine_for(sent), machine_for(sent), raw);
    loop {
        let Some(whole) = fast.try_whole(rest, memo) else { return };
        assert_eq!(poll_whole(&mut slow, rest, memo), Some(whole));
        assert_eq!(format!("{fast:?}"), format!("{slow:?}"), "after {whole:?}");
        rest = &rest[whole.consumed..];
    }
}

/// The next response by `poll`, in the terms of `try_whole`, if all of it is there.
fn poll_whole(machine: &mut Machine, input: &[u8], memo: &mut HeadMemo) -> Option<Whole> {
    let (mut consumed, mut head_bytes, mut status) = (0, 0, 0);
    loop {
        let (bytes, event) = machine.poll(&input[consumed..], memo).ok()?;
        consumed += bytes;
        match event {
            Event::Head(head) => (head_bytes, status) = (bytes, head.status()),
            Event::Data(_) => {}
            Event::End(end) => return Some(Whole { head_bytes, consumed, status, end }),
            _ => return None,
        }
    }
}

/// What a machine tells about `parts` and the close after them, one line a fact.
fn transcribe(sent: &[Sent], parts: &[&[u8]], memo: &mut HeadMemo) -> Vec<String> {
    let (mut machine, mut told) = (machine_for(sent), Vec::new());
    for part in parts {
        if let Err(error) = transcribe_part(&mut machine, part, memo, &mut told) {
            tell_error(error, &mut told);
            return told;
        }
    }
    match machine.handle_eof() {
        Ok(Eof::End(reason)) => told.push(format!("end {reason}")),
        Ok(Eof::Idle | Eof::Closed) => {}
        Err(error) => told.push(error.to_string()),
    }
    assert!(machine.close_reason().is_some(), "a closed connection is not reused");
    told
}

fn transcribe_part(
    machine: &mut Machine,
    part: &[u8],
    memo: &mut HeadMemo,
    told: &mut Vec<String>,
) -> Result<(), Error> {
    let mut rest = part;
    for _ in 0..part.len() * 4 + 16 {
        let (consumed, event) = machine.poll(rest, memo)?;
        assert!(consumed <= rest.len(), "{consumed} of {} bytes were taken", rest.len());
        if matches!(event, Event::NeedMore) {
            return Ok(());
        }
        tell(&event, told);
        rest = &rest[consumed..];
    }
    assert_eq!(told.len(), usize::MAX, "the machine never wants more: {told:#?}");
    Ok(())
}

/// Bytes that came with the end make it a surplus end, bytes that came later an error: the same.
fn tell_error(error: Error, told: &mut Vec<String>) {
    match (error, told.last_mut()) {
        (Error::Unsolicited, Some(last)) if last == "end Ok(())" => {
            *last = "end Err(SurplusBytes)".to_owned();
        }
        _ => told.push(error.to_string()),
    }
}

fn tell(event: &Event<'_>, told: &mut Vec<String>) {
    match event {
        Event::NeedMore => {}
        Event::Interim(head) | Event::Head(head) => {
            let fields: Vec<_> = head.fields().collect();
            assert!(fields.iter().all(|(name, _)| !name.is_empty()));
            told.push(format!("head {:?} {:?} {fields:?}", head.summary, head.framing));
        }
        Event::Data(data) => {
            assert!(!data.is_empty(), "an empty piece of body");
            let text = data.escape_ascii().to_string();
            match told.last_mut() {
                Some(last) if last.starts_with("data ") => last.push_str(&text),
                _ => told.push(format!("data {text}")),
            }
        }
        Event::Trailers(trailers) => {
            told.push(format!("{:?}", trailers.as_sent().collect::<Vec<_>>()));
        }
        Event::End(end) => told.push(format!("end {end:?}")),
    }
}
