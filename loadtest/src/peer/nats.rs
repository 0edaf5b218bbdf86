//! NATS as a client speaks it (docs.nats.io, "Client Protocol"), without headers.

/// Bytes of a control line at most: a server's `INFO` may name a whole cluster.
const LINE_BYTES_MAX: usize = 32 << 10;
/// Bytes of a message at most, as servers have it by default.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Info,
    Message(&'a [u8]),
    Ping,
    Pong,
    Ok,
    Error(&'a str),
}

/// The first thing in `bytes`, and how many of them it has; `None` if it is not all there.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
    let Some(end) = bytes.windows(2).take(LINE_BYTES_MAX).position(|pair| pair == b"\r\n") else {
        let most = format!("NATS: expected a line of at most {LINE_BYTES_MAX} bytes");
        return if bytes.len() > LINE_BYTES_MAX { Err(most) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "NATS: a line that is not UTF-8".to_owned())?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = match word {
        "INFO" => Said::Info,
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "+OK" => Said::Ok,
        "-ERR" => Said::Error(rest.trim()),
        "MSG" => return message(bytes, rest, end + 2),
        _ => return Err(format!("NATS: expected INFO, MSG, PING, PONG, +OK or -ERR, got {line:.100}")),
    };
    Ok(Some((said, end + 2)))
}

/// `MSG subject sid [reply-to] size`, then so many bytes from `start` on, and an end of line.
fn message<'a>(bytes: &'a [u8], line: &str, start: usize) -> Result<Option<(Said<'a>, usize)>, String> {
    let size = line.split_ascii_whitespace().last().and_then(|size| size.parse::<usize>().ok());
    let size = size.filter(|size| *size <= PAYLOAD_BYTES_MAX).ok_or_else(|| {
        format!("NATS: expected MSG with a size of at most {PAYLOAD_BYTES_MAX} bytes, got {line:.100}")
    })?;
    let end = start + size;
    let Some(after) = bytes.get(end..end + 2) else { return Ok(None) };
    if after != b"\r\n" {
        return Err(format!("NATS: expected a line's end after {size} bytes, got {after:?}"));
    }
    Ok(Some((Said::Message(&bytes[start..end]), end + 2)))
}

/// The first words of a client, with which it subscribes to a subject; `PONG` says that both were taken.
/// `echo`: it gets its own messages too.
pub(super) fn hello(subject: &str, echo: bool) -> Vec<u8> {
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":{echo},\"lang\":\"rust\",\
         \"version\":\"1\",\"protocol\":1,\"name\":\"ringway load\"}}\r\nSUB {subject} 1\r\nPING\r\n"
    )
    .into_bytes()
}

/// A message to a subject.
pub(super) fn publish(subject: &str, payload: &str) -> Vec<u8> {
    format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()).into_bytes()
}

pub(super) const PONG: &[u8] = b"PONG\r\n";

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Said, publish, read};

    const STREAM: &[u8] =
        b"INFO {\"a\":1}\r\nPING\r\nMSG a.b 1 5\r\nhi\r\n!\r\nMSG a 1 r 0\r\n\r\n+OK\r\n-ERR 'No'\r\nPONG\r\n";
    const HEARD: [Said<'_>; 7] = [
        Said::Info,
        Said::Ping,
        Said::Message(b"hi\r\n!"),
        Said::Message(b""),
        Said::Ok,
        Said::Error("'No'"),
        Said::Pong,
    ];

    #[test]
    fn what_comes_in_one_piece_is_read_one_by_one() {
        let (mut at, mut heard) = (0, vec![]);
        while let Some((said, used)) = read(&STREAM[at..]).unwrap() {
            heard.push(said);
            at += used;
        }
        assert_eq!((heard, at), (HEARD.to_vec(), STREAM.len()));
    }

    #[test]
    fn what_is_cut_off_anywhere_is_waited_for() {
        let mut at = 0;
        while at < STREAM.len() {
            let (_, used) = read(&STREAM[at..]).unwrap().unwrap();
            (0..used).for_each(|cut| assert_eq!(read(&STREAM[at..at + cut]), Ok(None), "{at} {cut}"));
            at += used;
        }
    }

    #[test]
    fn what_no_server_says_is_refused_with_what_was_expected() {
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        let cases: [(&[u8], &str); 7] = [
            (&endless, "at most 32768"),
            (b"HTTP/1.1 400 Bad Request\r\n", "expected INFO"),
            (b"\xff\r\n", "UTF-8"),
            (b"MSG a 1 1048577\r\n", "at most 1048576"),
            (b"MSG a 1 -1\r\n", "with a size"),
            (b"MSG\r\n", "with a size"),
            (b"MSG a 1 2\r\nabcd", "a line's end"),
        ];
        for (bytes, told) in cases {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_message_goes_out_with_its_length() {
        assert_eq!(publish("a.b", "hi"), b"PUB a.b 2\r\nhi\r\n");
    }
}
