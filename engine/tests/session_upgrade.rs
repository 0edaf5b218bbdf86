//! The upgrade request: what is accepted, and how everything else is answered.

use engine::session::{Event, Input, Policy, Session, Upgrade, authorize};
use protocol::token::{Keys, mint_hs256};
use protocol::{Limits, UnixMs, UserId};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn request(line: &str, fields: &[(&str, &str)]) -> String {
    let mut text = format!("{line}\r\n");
    let mut all = vec![
        ("Host", "x"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    all.retain(|(name, _)| !fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    for (name, value) in all.iter().chain(fields).filter(|(_, value)| !value.is_empty()) {
        text += &format!("{name}: {value}\r\n");
    }
    text + "\r\n"
}

fn read(text: &str, piece: usize) -> Result<Box<Upgrade>, (u16, String)> {
    let mut session = Session::new();
    for chunk in text.as_bytes().chunks(piece) {
        match session.next(&Limits::default(), &mut Input::new(&mut chunk.to_vec())) {
            None => {}
            Some(Event::Upgrade(upgrade)) => return Ok(upgrade),
            Some(Event::Refused(refusal)) => {
                return Err((refusal.status(), String::from_utf8(refusal.response()).unwrap()));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    panic!("no answer to {text:?}")
}

#[test]
fn the_answer_to_the_key_of_rfc_6455_is_the_one_given_there() {
    for piece in [1, 7, 10_000] {
        let upgrade = read(&request("GET /ws HTTP/1.1", &[]), piece).unwrap();
        let response = String::from_utf8(upgrade.response()).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 "));
        assert!(response.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }
}

#[test]
fn every_other_request_has_its_status() {
    let long = "x".repeat(9_000);
    let many: Vec<_> = (0..70).map(|n| (format!("x-{n}"), "y")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    for (status, line, fields) in [
        (404, "GET / HTTP/1.1", &[][..]),
        (404, "GET /wss HTTP/1.1", &[]),
        (426, "GET /ws HTTP/1.1", &[("Upgrade", "")]),
        (426, "GET /ws HTTP/1.1", &[("Connection", "close")]),
        (426, "GET /ws HTTP/1.1", &[("Sec-WebSocket-Version", "8")]),
        (400, "POST /ws HTTP/1.1", &[]),
        (400, "GET /ws HTTP/1.0", &[]),
        (400, "GET /ws HTTP/1.1", &[("Host", "")]),
        (400, "GET /ws HTTP/1.1", &[("Sec-WebSocket-Key", "short")]),
        (400, "GET /ws HTTP/1.1", &[("Content-Length", "5")]),
        (400, "GET /ws HTTP/1.1", &[("Transfer-Encoding", "chunked")]),
        (400, "GET  /ws HTTP/1.1", &[]),
        (400, "\u{16}\u{3}\u{1}", &[]),
        (431, "GET /ws HTTP/1.1", &[("Cookie", &long)]),
        (431, "GET /ws HTTP/1.1", &many),
    ] {
        let (got, response) = read(&request(line, fields), 4_096).unwrap_err();
        assert_eq!(got, status, "{line} {fields:.60?}: {response}");
        assert!(response.contains("\r\nContent-Length: ") && response.contains("\r\n\r\n"), "{response}");
    }
}

#[test]
fn bytes_behind_the_request_stay_unread() {
    let mut bytes = request("GET /ws HTTP/1.1", &[]).into_bytes();
    bytes.extend_from_slice(b"frames");
    let mut input = Input::new(&mut bytes);
    let mut session = Session::new();
    assert!(matches!(session.next(&Limits::default(), &mut input), Some(Event::Upgrade(_))));
    assert_eq!(input.rest(), b"frames");
}

#[test]
fn a_token_is_found_wherever_the_client_puts_it() {
    for (line, fields) in [
        ("GET /ws?a=b&token=ab%2Ec HTTP/1.1", &[][..]),
        ("GET /ws HTTP/1.1", &[("Authorization", "Bearer ab.c")]),
        ("GET /ws HTTP/1.1", &[("Sec-WebSocket-Protocol", "ringway.v1, bearer.ab.c")]),
    ] {
        let upgrade = read(&request(line, fields), 4_096).unwrap();
        assert_eq!(upgrade.token.as_deref(), Some("ab.c"), "{line} {fields:?}");
        let chosen =
            String::from_utf8(upgrade.response()).unwrap().contains("Sec-WebSocket-Protocol: ringway.v1\r\n");
        assert_eq!(chosen, fields.iter().any(|(name, _)| *name == "Sec-WebSocket-Protocol"));
    }
}

#[test]
fn only_valid_tokens_and_listed_pages_get_in() {
    let policy = Policy { keys: Some(Keys::hs256(b"key")), origins: vec!["https://chat.example".into()] };
    let token = |key: &[u8], ms: u64| Some(mint_hs256(key, UserId(7), None, UnixMs(NOW.0 + ms)));
    let status = |token: Option<String>, origin: Option<&str>| {
        let mut upgrade = Upgrade::default();
        upgrade.token = token;
        upgrade.origin = origin.map(str::to_owned);
        authorize(&upgrade, &policy, NOW).map(|claims| claims.user).map_err(|refusal| refusal.status())
    };
    assert_eq!(status(token(b"key", 5_000), None), Ok(UserId(7)));
    assert_eq!(status(token(b"key", 5_000), Some("HTTPS://chat.example")), Ok(UserId(7)));
    assert_eq!(status(token(b"key", 5_000), Some("https://evil.example")), Err(403));
    assert_eq!(status(None, None), Err(401));
    assert_eq!(status(token(b"other", 5_000), None), Err(401));
    assert_eq!(status(token(b"key", 0), None), Err(401));
    assert_eq!(status(Some("x".repeat(5_000)), None), Err(401));
}
