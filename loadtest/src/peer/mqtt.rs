//! MQTT 3.1.1 (OASIS, 29 October 2014) as a client speaks it with QoS 0; numbers in brackets are its
//! sections.

/// Bytes of a packet at most.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// Bytes that say how long a packet is, at most (2.2.3).
const LENGTH_BYTES_MAX: usize = 4;

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// `CONNACK` that lets the client in.
    Connected,
    /// `SUBACK` that grants the subscription.
    Subscribed,
    Message(&'a [u8]),
}

/// The first packet in `bytes`, and how many of them it has; `None` if it is not all there.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, String> {
    let Some(first) = bytes.first() else { return Ok(None) };
    let Some((length, start)) = length(bytes)? else { return Ok(None) };
    if length > PACKET_BYTES_MAX {
        return Err(format!("MQTT: a packet of {length} bytes, expected at most {PACKET_BYTES_MAX}"));
    }
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let said = match (first, body) {
        // 3.2
        (0x20, [_, 0]) => Said::Connected,
        (0x20, [_, code]) => return Err(format!("MQTT: the server refuses the connection (code {code})")),
        // 3.9: the one subscription there is, with the QoS that is granted.
        (0x90, [_, _, 0..=2]) => Said::Subscribed,
        (0x90, [_, _, _]) => return Err("MQTT: the server refuses the subscription".to_owned()),
        // 3.3: with QoS 0 the topic is followed by the payload; RETAIN may be set.
        (0x30 | 0x31, body) => Said::Message(payload(body)?),
        _ => {
            return Err(format!(
                "MQTT: expected CONNACK, SUBACK or PUBLISH with QoS 0, got a packet {first:#04x} of {length} bytes"
            ));
        }
    };
    Ok(Some((said, start + length)))
}

/// How long the rest is (2.2.3), and where that begins.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for at in 0..LENGTH_BYTES_MAX {
        let Some(byte) = bytes.get(1 + at) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, 2 + at)));
        }
    }
    Err(format!("MQTT: a length of more than {LENGTH_BYTES_MAX} bytes"))
}

fn payload(body: &[u8]) -> Result<&[u8], String> {
    let topic = body.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
    let payload = topic.and_then(|topic| body.get(2 + topic..));
    payload.ok_or_else(|| "MQTT: a PUBLISH that ends in its topic".to_owned())
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut left: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(left + 1 + LENGTH_BYTES_MAX);
    out.push(first);
    loop {
        let more = if left > 0x7f { 0x80 } else { 0 };
        out.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

fn two(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("names made here are short").to_be_bytes()
}

/// `CONNECT` (3.1): a clean session without keep-alive.
pub(super) fn connect(client: &str) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04\x02\0\0", &two(client.len()), client.as_bytes()])
}

/// `SUBSCRIBE` to one topic with QoS 0 (3.8).
pub(super) fn subscribe(topic: &str) -> Vec<u8> {
    packet(0x82, &[b"\0\x01", &two(topic.len()), topic.as_bytes(), b"\0"])
}

/// `PUBLISH` with QoS 0 (3.3).
pub(super) fn publish(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x30, &[&two(topic.len()), topic.as_bytes(), payload.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::{PACKET_BYTES_MAX, Said, connect, publish, read, subscribe};

    #[test]
    fn what_comes_in_one_piece_is_read_one_by_one_and_what_is_cut_off_is_waited_for() {
        let long = "x".repeat(200);
        let mut stream = b"\x20\x02\0\0\x90\x03\0\x01\0".to_vec();
        let packets = [publish("a/b", "hi"), publish("a", &long), publish("", "")];
        packets.iter().for_each(|packet| stream.extend_from_slice(packet));
        let messages = [&b"hi"[..], long.as_bytes(), b""].map(Said::Message);
        let (mut at, mut heard) = (0, vec![]);
        while let Some((said, used)) = read(&stream[at..]).unwrap() {
            (0..used).for_each(|cut| assert_eq!(read(&stream[at..at + cut]), Ok(None), "{at} {cut}"));
            heard.push(said);
            at += used;
        }
        assert_eq!(heard[..2], [Said::Connected, Said::Subscribed]);
        assert_eq!((&heard[2..], at), (&messages[..], stream.len()));
    }

    #[test]
    fn packets_are_those_of_the_standard() {
        assert_eq!(connect("ab"), b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02ab");
        assert_eq!(subscribe("t"), b"\x82\x06\0\x01\0\x01t\0");
        // 321 bytes have the length 0xC1 0x02 (2.2.3, non-normative example).
        assert_eq!(publish("t", &"x".repeat(318))[..3], [0x30, 0xc1, 0x02]);
    }

    #[test]
    fn what_no_server_says_is_refused_with_what_was_expected() {
        let cases: [(&[u8], &str); 8] = [
            (b"\x20\x02\0\x05", "refuses the connection (code 5)"),
            (b"\x90\x03\0\x01\x80", "refuses the subscription"),
            (b"\x30\x02\0\x01", "ends in its topic"),
            (b"\x30\x01\0", "ends in its topic"),
            (b"\x30\xff\xff\xff\xff\x01", "more than 4 bytes"),
            (b"\x30\xff\xff\xff\x7f", "expected at most 1048576"),
            (b"\x32\x05\0\x01a\0\x01", "QoS 0, got a packet 0x32"),
            (b"HTTP/1.1 400 Bad Request and so on, for as long as this length says", "got a packet 0x48"),
        ];
        for (bytes, told) in cases {
            let mut bytes = bytes.to_vec();
            bytes.resize(bytes.len().max(100), b' ');
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(publish("t", &"x".repeat(PACKET_BYTES_MAX)).len(), PACKET_BYTES_MAX + 7);
    }
}
