//! Where requests begin and end on an HTTP/1 connection, read along below hyper, to refuse those
//! about which two servers could disagree (request smuggling): a length beside chunks, two lengths,
//! a transfer coding other than chunks, a header over two lines. hyper takes the first for chunks
//! and says nothing.
//!
//! hyper decides what a request is; this only adds refusals. What can not be followed is left to
//! it, for it refuses that itself. Pure.

/// Bytes of a line that are looked at: more than a length or a transfer coding takes.
const LINE_BYTES: usize = 64;

#[derive(Default)]
pub struct Framing {
    part: Part,
    line: Line,
    head: Head,
}

#[derive(Clone, Copy, Default)]
enum Part {
    #[default]
    Head,
    /// With as many bytes to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Something that is no HTTP/1, or was refused.
    Lost,
}

/// What the head has said so far.
#[derive(Default)]
struct Head {
    /// Whether its first line has been there.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// A line as far as it has come.
struct Line {
    start: [u8; LINE_BYTES],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { start: [0; LINE_BYTES], length: 0 }
    }
}

impl Line {
    fn push(&mut self, part: &[u8]) {
        if let Some(room) = self.start.get_mut(self.length..) {
            let kept = room.len().min(part.len());
            room[..kept].copy_from_slice(&part[..kept]);
        }
        self.length = self.length.saturating_add(part.len());
    }

    /// Its start without the line's end; whole where it is not longer than what is looked at.
    fn text(&self) -> &[u8] {
        let text = &self.start[..self.length.min(LINE_BYTES)];
        if self.is_whole() { text.strip_suffix(b"\r").unwrap_or(text) } else { text }
    }

    fn is_whole(&self) -> bool {
        self.length <= LINE_BYTES
    }
}

/// A request that is not to be answered as it stands.
struct Refused;

impl Framing {
    /// Reads along. Gives back the place of the byte with which a request became one to refuse;
    /// after that, nothing is looked at any more.
    pub fn look(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < data.len() {
            match self.part {
                Part::Lost => return None,
                Part::Body(left) => {
                    let left = skip(data, &mut at, left);
                    self.part = if left > 0 { Part::Body(left) } else { Part::Head };
                }
                Part::Chunk(left) => {
                    let left = skip(data, &mut at, left);
                    self.part = if left > 0 { Part::Chunk(left) } else { Part::ChunkEnd };
                }
                _ => {
                    let rest = &data[at..];
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        self.line.push(rest);
                        return None;
                    };
                    self.line.push(&rest[..end]);
                    at += end + 1;
                    if self.end_line().is_err() {
                        self.part = Part::Lost;
                        return Some(at - 1);
                    }
                }
            }
        }
        None
    }

    fn end_line(&mut self) -> Result<(), Refused> {
        let line = std::mem::take(&mut self.line);
        self.part = match (self.part, line.text()) {
            // Empty lines before a request do not count.
            (Part::Head, []) if !self.head.begun => Part::Head,
            (Part::Head, []) => std::mem::take(&mut self.head).body(),
            (Part::Head, text) => {
                self.head.line(text, line.is_whole())?;
                Part::Head
            }
            (Part::ChunkSize, text) => match chunk_size(text) {
                Some(0) => Part::Trailers,
                Some(size) => Part::Chunk(size),
                None => Part::Lost,
            },
            (Part::ChunkEnd, []) => Part::ChunkSize,
            (Part::Trailers, []) => Part::Head,
            (Part::Trailers, _) => Part::Trailers,
            (Part::ChunkEnd | Part::Body(_) | Part::Chunk(_) | Part::Lost, _) => Part::Lost,
        };
        Ok(())
    }
}

impl Head {
    fn line(&mut self, text: &[u8], is_whole: bool) -> Result<(), Refused> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        if text.starts_with(b" ") || text.starts_with(b"\t") {
            return Err(Refused);
        }
        let Some(colon) = text.iter().position(|&byte| byte == b':') else { return Ok(()) };
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        if !is_length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(());
        }
        if self.length.is_some() || self.chunked || !is_whole {
            return Err(Refused);
        }
        if is_length {
            self.length = Some(decimal(value).ok_or(Refused)?);
        } else if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
        } else {
            return Err(Refused);
        }
        Ok(())
    }

    /// What follows the head.
    fn body(self) -> Part {
        match self.length {
            _ if self.chunked => Part::ChunkSize,
            Some(length) if length > 0 => Part::Body(length),
            _ => Part::Head,
        }
    }
}

/// Steps over as many of `left` bytes as are there; gives back how many are still to come.
fn skip(data: &[u8], at: &mut usize, left: u64) -> u64 {
    let there = data.len() - *at;
    let step = usize::try_from(left).map_or(there, |left| left.min(there));
    *at += step;
    left - step as u64
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

/// The size in front of a chunk, which an extension may follow.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|&byte| byte == b';').next()?.trim_ascii();
    let all = size.iter().all(u8::is_ascii_hexdigit);
    let size = str::from_utf8(size).ok().filter(|_| all)?;
    u64::from_str_radix(size, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(data: &str) -> Option<usize> {
        Framing::default().look(data.as_bytes())
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        let request =
            |lines: &str| format!("POST /v2 HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n0\r\n\r\n");
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "transfer-encoding:chunked\nCONTENT-LENGTH:5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nX: y\r\nContent-Length: 6",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding:",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 0x5",
            "Content-Length: 99999999999999999999",
            "Content-Length:",
            "X: y\r\n Content-Length: 5",
            "X: y\r\n\tz",
        ] {
            assert!(refused(&request(lines)).is_some(), "{lines}");
        }
        let padded = format!("Content-Length: {}5", " ".repeat(LINE_BYTES));
        assert!(refused(&request(&padded)).is_some(), "a length out of sight");
        let at = refused("GET / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\nHost: x\n\n");
        assert_eq!(at, Some("GET / HTTP/1.1\nContent-Length: 1\nContent-Length: 1".len()));
    }

    #[test]
    fn ordinary_requests_pass_one_after_the_other() {
        let mut framing = Framing::default();
        let long =
            format!("GET /{} HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(99), "y".repeat(999));
        for request in [
            "\r\nGET / HTTP/1.1\r\n\r\n",
            &long,
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n: ",
            "POST / HTTP/1.1\r\nContent-Length:\t0 \r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\n\r\n:\r\n0\r\nX: y\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(framing.look(request.as_bytes()), None, "{request:?}");
            assert!(matches!(framing.part, Part::Head) && !framing.head.begun, "{request:?}");
        }
        let bad = "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(framing.look(bad.as_bytes()), Some(bad.len() - 1));
        assert_eq!(framing.look(bad.as_bytes()), None, "it is refused once");
    }

    const EVIL: &str =
        "\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n";

    /// A request whose body looks like one to refuse.
    fn good() -> impl Strategy<Value = String> {
        let body = (0usize..3).prop_map(|count| EVIL.repeat(count));
        (body, any::<bool>(), 1usize..90).prop_map(|(body, chunked, size)| {
            if !chunked {
                let length = body.len();
                return format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}");
            }
            let chunk =
                |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), str::from_utf8(part).unwrap());
            let chunks: String = body.as_bytes().chunks(size).map(chunk).collect();
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
        })
    }

    proptest! {
        #[test]
        fn it_makes_no_difference_how_the_bytes_come(
            requests in proptest::collection::vec(good(), 0..4),
            sizes in proptest::collection::vec(1usize..60, 1..8),
        ) {
            let fine: String = requests.concat();
            let bad = fine.clone() + &EVIL[4..];
            for (text, expected) in [(&fine, None), (&bad, Some(bad.len() - 1))] {
                let mut framing = Framing::default();
                let (mut at, mut found) = (0, None);
                for size in sizes.iter().cycle() {
                    if at == text.len() {
                        break;
                    }
                    let end = (at + size).min(text.len());
                    let place = framing.look(&text.as_bytes()[at..end]);
                    found = found.or(place.map(|place| at + place));
                    at = end;
                }
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framing = Framing::default();
            framing.look(&data);
            framing.look(&data);
        }
    }
}
