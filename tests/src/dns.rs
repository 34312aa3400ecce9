//! Messages of the DNS (RFC 1035 4), as far as the tests need them: one question, addresses as answers. No sockets.

use std::net::IpAddr;

/// Bytes of the longest message without extensions (RFC 1035 2.3.4).
pub const MESSAGE_BYTES_MAX: usize = 512;

/// "Server failure" (RFC 1035 4.1.1).
pub const SERVFAIL: u8 = 2;
/// "No such name".
pub const NXDOMAIN: u8 = 3;
/// "Refused".
pub const REFUSED: u8 = 5;

const HEADER_BYTES: usize = 12;
/// A response, recursion desired and available.
const RESPONSE: u16 = 0x8180;
/// A query, recursion desired.
const QUERY: u16 = 0x0100;
const INTERNET: u16 = 1;

/// What kind of record is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Anything else, by its number.
    Other(u16),
}

impl Record {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Other(number) => number,
        }
    }

    fn of(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            other => Self::Other(other),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name, in lower case, without a dot at its end.
    pub name: String,
    /// The kind of record.
    pub record: Record,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub id: u16,
    /// The question.
    pub question: Question,
    /// The response code; 0 for success.
    pub code: u8,
    /// The addresses among its answers, each with its time to live in seconds.
    pub answers: Vec<(IpAddr, u32)>,
    /// Where the question ends.
    question_end: usize,
}

/// A query.
#[must_use]
pub fn query(id: u16, question: &Question) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [id, QUERY, 1, 0, 0, 0].iter().flat_map(|field| field.to_be_bytes()).collect();
    for label in question.name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(question.record.number().to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes
}

/// A response to `asked`, which are the bytes of a query that was parsed into `message`: those of `addresses` that are of the kind asked for.
#[must_use]
pub fn response(
    asked: &[u8],
    message: &Message,
    code: u8,
    addresses: &[IpAddr],
    ttl: u32,
) -> Vec<u8> {
    let wanted = match message.question.record {
        Record::A => IpAddr::is_ipv4,
        Record::Aaaa => IpAddr::is_ipv6,
        Record::Other(_) => |_: &IpAddr| false,
    };
    let answers: Vec<&IpAddr> = addresses.iter().filter(|address| wanted(address)).collect();
    let header = [message.id, RESPONSE | u16::from(code), 1, answers.len() as u16, 0, 0];
    let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_be_bytes()).collect();
    bytes.extend_from_slice(&asked[HEADER_BYTES..message.question_end]);
    for address in answers {
        // The name of the question, by a pointer to it.
        bytes.extend([0xc0, HEADER_BYTES as u8]);
        bytes.extend(message.question.record.number().to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        let data = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// Reads a query or a response, or `None` if it is neither.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let field = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (name, name_end) = parse_name(bytes, HEADER_BYTES)?;
    let record = Record::of(field(name_end)?);
    let question_end = name_end + 4;
    let (mut answers, mut at) = (Vec::new(), question_end);
    for _ in 0..field(6)? {
        let data = parse_name(bytes, at)?.1 + 10;
        let ttl = u32::from_be_bytes(bytes.get(data - 6..data - 2)?.try_into().ok()?);
        at = data + usize::from(field(data - 2)?);
        let address = match Record::of(field(data - 10)?) {
            Record::A => <[u8; 4]>::try_from(bytes.get(data..at)?).ok().map(IpAddr::from),
            Record::Aaaa => <[u8; 16]>::try_from(bytes.get(data..at)?).ok().map(IpAddr::from),
            Record::Other(_) => None,
        };
        answers.extend(address.map(|address| (address, ttl)));
    }
    let code = (field(2)? & 0xf) as u8;
    Some(Message {
        id: field(0)?,
        question: Question { name, record },
        code,
        answers,
        question_end,
    })
}

/// A name, in lower case, and where it ends. A pointer ends it, and is not followed.
fn parse_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some((labels.join("."), at + 1)),
            0xc0.. => return Some((labels.join("."), at + 2)),
            length => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                at += 1 + length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let question = Question { name: "a.example.test".to_owned(), record: Record::A };
        let asked = query(7, &question);
        let message = parse(&asked).unwrap();
        assert_eq!((message.id, message.code, &message.question), (7, 0, &question));
        let v4 = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let all = [v4[0], IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), v4[1]];
        let answered = parse(&response(&asked, &message, 0, &all, 60)).unwrap();
        assert_eq!(answered.answers, [(v4[0], 60), (v4[1], 60)]);
        assert_eq!((answered.id, &answered.question), (7, &question));
        let refused = parse(&response(&asked, &message, REFUSED, &[], 0)).unwrap();
        assert_eq!((refused.code, refused.answers.len()), (REFUSED, 0));
        for end in 0..asked.len() - 4 {
            assert_eq!(parse(&asked[..end]), None);
        }
    }
}
