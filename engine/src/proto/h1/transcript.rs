//! What a machine tells about some bytes, as text, for the tests of this module. The same bytes go in
//! whole, cut in two at every place, and byte by byte, each with a cold and a warm memo; all of it
//! has to give the same text.

use super::*;

/// One line a fact: `head 200 2 fields`, `data ...`, `end`, `error ...`.
pub(super) fn check_sent(sent: &[Sent], limits: Limits, raw: &[u8], expected: &[&str]) {
    let shown = raw.escape_ascii().to_string();
    let mut memo = HeadMemo::new();
    let whole = transcribe(sent, limits, &[raw], &mut memo);
    let agree = whole.len() == expected.len()
        && whole.iter().zip(expected).all(|(told, line)| {
            told == line || line.starts_with("error ") && told.starts_with(&format!("{line}:"))
        });
    assert!(agree, "{shown}\n told {whole:#?}\n  not {expected:#?}");
    assert_eq!(transcribe(sent, limits, &[raw], &mut memo), whole, "warm memo: {shown}");
    let bytes: Vec<&[u8]> = raw.chunks(1).collect();
    assert_eq!(transcribe(sent, limits, &bytes, &mut memo), whole, "byte by byte: {shown}");
    for at in 1..raw.len() {
        let parts = [&raw[..at], &raw[at..]];
        let cold = transcribe(sent, limits, &parts, &mut HeadMemo::new());
        assert_eq!(cold, whole, "split at {at}, cold memo: {shown}");
        let warm = transcribe(sent, limits, &parts, &mut memo);
        assert_eq!(warm, whole, "split at {at}, warm memo: {shown}");
    }
}

/// The response to one `GET` on a fresh connection, which the server then closes.
pub(super) fn check(raw: impl AsRef<[u8]>, expected: &[&str]) {
    check_sent(&[Sent::default()], Limits::default(), raw.as_ref(), expected);
}

/// What a machine tells about `parts` and the close after them.
fn transcribe(sent: &[Sent], limits: Limits, parts: &[&[u8]], memo: &mut HeadMemo) -> Vec<String> {
    let mut machine = Machine::new(&limits);
    for one in sent {
        assert_eq!(machine.handle_request(*one), Ok(()));
    }
    let mut told = Vec::new();
    for part in parts {
        if tell_part(&mut machine, part, memo, &mut told).is_err() {
            return told;
        }
    }
    match machine.handle_eof() {
        Ok(Eof::End(reason)) => told.push(format!("end: {reason}")),
        Ok(Eof::Idle | Eof::Closed) => {}
        Err(error) => told.push(format!("error {}: {error}", error.kind_name())),
    }
    told
}

fn tell_part(
    machine: &mut Machine,
    part: &[u8],
    memo: &mut HeadMemo,
    told: &mut Vec<String>,
) -> Result<(), ()> {
    let mut rest = part;
    loop {
        match machine.poll(rest, memo) {
            Ok((consumed, Event::NeedMore)) => {
                let left = rest.len() - consumed;
                if left > 0 {
                    told.push(format!("left {left}"));
                }
                return Ok(());
            }
            Ok((consumed, event)) => {
                tell(&event, told);
                rest = &rest[consumed..];
            }
            Err(error) => {
                tell_error(&error, told);
                return Err(());
            }
        }
    }
}

/// Bytes that came with the end make it a surplus end, bytes that came later an error: the same.
fn tell_error(error: &Error, told: &mut Vec<String>) {
    match (error, told.last_mut()) {
        (Error::Unsolicited, Some(last)) if last == "end" => {
            *last = format!("end: {}", CloseReason::SurplusBytes);
        }
        _ => told.push(format!("error {}: {error}", error.kind_name())),
    }
}

fn tell(event: &Event<'_>, told: &mut Vec<String>) {
    match event {
        Event::NeedMore => {}
        Event::Interim(head) => told.push(format!("interim {}", show_head(head))),
        Event::Head(head) => told.push(format!("head {} {:?}", show_head(head), head.framing)),
        Event::Data(data) => {
            let text = data.escape_ascii().to_string();
            match told.last_mut() {
                Some(last) if last.starts_with("data ") => last.push_str(&text),
                _ => told.push(format!("data {text}")),
            }
        }
        Event::Trailers(trailers) => {
            told.push(format!("trailers{}", show_fields(trailers.fields())));
        }
        Event::End(Ok(())) => told.push("end".to_owned()),
        Event::End(Err(reason)) => told.push(format!("end: {reason}")),
    }
}

fn show_head(head: &Head<'_>) -> String {
    format!("{}{}", head.status(), show_fields(head.fields()))
}

fn show_fields<'a>(fields: impl Iterator<Item = Field<'a>>) -> String {
    fields
        .map(|(name, value)| format!(" {}={}", name.escape_ascii(), value.escape_ascii()))
        .collect()
}
