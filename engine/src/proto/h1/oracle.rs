//! Naive decoders, written from the grammar alone, that the real ones are held against.

use proptest::prelude::*;

use super::*;

/// A chunked body, naively: the whole of it at once, by splitting at CRLF. `None`: broken or cut
/// short.
fn naive_chunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..line_end]).ok()?;
        let size = line.split(';').next()?;
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits
            || size.len() > 16
            || line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        rest = &rest[line_end + 2..];
        if size == 0 {
            return rest.starts_with(b"\r\n").then_some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

fn real_chunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut body) = (ChunkedDecoder::new(), Vec::new());
    loop {
        let (consumed, piece) = decoder.decode(rest).ok()?;
        assert!(consumed <= rest.len());
        rest = &rest[consumed..];
        match piece {
            Piece::Data(data) => body.extend_from_slice(data),
            Piece::End => return Some(body),
            Piece::NeedMore | Piece::Trailers => return None,
        }
    }
}

/// What a head says, naively. `None`: no head.
fn naive_head(head: &str) -> Option<(u16, Vec<(String, String)>)> {
    let mut lines = head.strip_suffix("\r\n\r\n")?.split("\r\n");
    let code = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let (code, reason) = code.split_once(' ').unwrap_or((code, ""));
    let printable = |text: &str| text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control());
    let three_digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let status =
        code.parse().ok().filter(|code| three_digits && *code >= 100 && printable(reason))?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || !printable(value) {
            return None;
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Some((status, fields))
}

fn real_head(head: &str) -> Option<(u16, Vec<(String, String)>)> {
    let Ok(Status::Complete(summary)) = parse_head(head.as_bytes(), &Limits::default()) else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = Fields::of(&head.as_bytes()[..summary.head_bytes as usize]);
    assert_eq!(fields.count(), usize::from(summary.fields));
    Some((summary.status, fields.map(|(name, value)| (text(name), text(value))).collect()))
}

/// The framing, naively: the rows of RFC 9112 6.3 read from top to bottom.
fn naive_framing(method: MethodKind, status: u16, length: &str, coding: &str) -> Option<Framing> {
    if method == MethodKind::Head || matches!(status, 100 | 204 | 304) {
        return Some(Framing::None);
    }
    if method == MethodKind::Connect && status / 100 == 2 {
        return Some(Framing::Tunnel);
    }
    match (coding, length) {
        ("", "") => Some(Framing::UntilClose),
        ("", _) => length.parse().ok().map(Framing::Length),
        ("chunked", "") => Some(Framing::Chunked),
        (_, "") => Some(Framing::UntilClose),
        _ => None,
    }
}

proptest! {
    #[test]
    fn chunked_bodies_decode_as_the_grammar_says(
        parts in proptest::collection::vec("[0-3a;x\r\n \t]{0,3}|1\r\nx\r\n|03;e\r\nabc\r\n|0\r\n\r\n", 0..8),
    ) {
        let raw = parts.concat();
        let naive = naive_chunked(raw.as_bytes());
        prop_assert_eq!(real_chunked(raw.as_bytes()), naive, "{:?}", raw);
    }

    #[test]
    fn any_body_survives_the_chunked_coding(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        cut in 0..300_usize,
    ) {
        let mut raw = Vec::new();
        for part in &parts {
            encode_chunk(part, &mut raw);
        }
        raw.extend_from_slice(LAST_CHUNK);
        prop_assert_eq!(real_chunked(&raw), Some(parts.concat()));
        let cut = cut.min(raw.len() - 1);
        prop_assert_eq!(real_chunked(&raw[..cut]), None);
    }

    #[test]
    fn heads_parse_as_the_grammar_says(
        status in "HTTP/1\\.1 ([0-9]{3}|[0-9 ]{2,4})( [a-zA-Z \t\u{1}]{0,6})?",
        lines in proptest::collection::vec("([a-zA-Z_.~-]{1,4}[ \0]?)?:[ \t]{0,2}[a-z,: \t]{0,6}\u{1}?|[a-z]:b", 0..5),
    ) {
        let head = format!("{status}\r\n{}\r\n", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
        prop_assert_eq!(real_head(&head), naive_head(&head), "{:?}", head);
    }

    #[test]
    fn framing_follows_the_rows(
        method in prop_oneof![Just(MethodKind::Head), Just(MethodKind::Connect), Just(MethodKind::Other)],
        status in prop_oneof![Just(100_u16), Just(200), Just(204), Just(304), Just(299), Just(404)],
        length in "|[0-9]{1,22}|-1|x",
        coding in "|chunked|gzip|xchunked",
    ) {
        let mut head = format!("HTTP/1.1 {status} x\r\n");
        for (name, value) in [("Content-Length", &length), ("Transfer-Encoding", &coding)] {
            if !value.is_empty() {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str("\r\n");
        let Ok(Status::Complete(summary)) = parse_head(head.as_bytes(), &Limits::default()) else {
            return Err(TestCaseError::fail(format!("no head: {head:?}")));
        };
        let real = Framing::of(Sent { method, ..Sent::default() }, &summary, Leniency::Strict);
        prop_assert_eq!(real.ok(), naive_framing(method, status, &length, &coding));
    }
}
