//! The upgrade request and its answers (RFC 6455 section 4, RFC 9110).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::ids::decimal;
use protocol::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};
use tungstenite::handshake::derive_accept_key;

const PATH: &str = "/ws";
const SUBPROTOCOL: &str = "ringway.v1";
const TOKEN_SUBPROTOCOL: &str = "bearer.";

/// A valid upgrade request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upgrade {
    /// The token, from wherever the client put it.
    pub token: Option<String>,
    /// `?user=N`, which only listeners without tokens (tests, benches) look at.
    pub user_hint: Option<u64>,
    /// The page that a browser says it comes from.
    pub origin: Option<String>,
    accept: String,
    subprotocol: bool,
}

impl Upgrade {
    /// The 101 that accepts it.
    pub fn response(&self) -> Vec<u8> {
        let subprotocol = if self.subprotocol { "Sec-WebSocket-Protocol: ringway.v1\r\n" } else { "" };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
            self.accept
        )
        .into_bytes()
    }
}

/// An answer other than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    headers: String,
    detail: String,
}

impl Refusal {
    fn new(status: u16, headers: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, headers: headers.into(), detail: detail.into() }
    }

    /// The request is broken.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "", detail)
    }

    /// No valid token.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "WWW-Authenticate: Bearer\r\n", detail)
    }

    /// A page that is not on the list.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "", detail)
    }

    /// The request was not complete in time.
    pub fn timeout() -> Self {
        Self::new(408, "", "the upgrade request was not complete in time")
    }

    /// Too many connections; come back after so many seconds.
    pub fn overloaded(retry_after_s: u32) -> Self {
        Self::new(503, format!("Retry-After: {retry_after_s}\r\n"), "too many connections: try again later")
    }

    /// Too many new connections from one address; come back after so many seconds.
    pub fn too_many_connections(rate: protocol::Rate) -> Self {
        let detail = format!("too many new connections from this address: {rate}");
        Self::new(429, "Retry-After: 1\r\n", detail)
    }

    fn upgrade_required(detail: impl Into<String>) -> Self {
        Self::new(426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", detail)
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The whole HTTP response.
    pub fn response(&self) -> Vec<u8> {
        let phrase = match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            408 => "Request Timeout",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let connection = if self.status == 426 { "Upgrade, close" } else { "close" };
        let Self { status, headers, detail } = self;
        format!(
            "HTTP/1.1 {status} {phrase}\r\n{headers}Connection: {connection}\r\nContent-Type: text/plain; \
             charset=utf-8\r\nContent-Length: {}\r\n\r\n{detail}\n",
            detail.len() + 1
        )
        .into_bytes()
    }
}

/// How far the reading of a request has come.
pub(super) enum Read {
    /// The head is not all there; what came is kept.
    Unfinished,
    /// `used` bytes of the input belong to the request.
    Whole { used: usize, request: Result<Box<Upgrade>, Refusal> },
}

/// Reads on: `kept` is what came before, `input` what came now.
pub(super) fn read(kept: &mut Vec<u8>, input: &[u8]) -> Read {
    let before = kept.len();
    let room = (REQUEST_HEAD_BYTES_MAX + 1).saturating_sub(before);
    kept.extend_from_slice(&input[..input.len().min(room)]);
    // The blank line may have begun up to three bytes back.
    let from = before.saturating_sub(3);
    let end = memchr::memmem::find(&kept[from..], b"\r\n\r\n").map(|at| from + at + 4);
    if let Some(end) = end.filter(|end| *end <= REQUEST_HEAD_BYTES_MAX) {
        return Read::Whole { used: end - before, request: parse(&kept[..end]) };
    }
    if kept.len() > REQUEST_HEAD_BYTES_MAX {
        let detail = format!("the request's head is larger than {REQUEST_HEAD_BYTES_MAX} bytes");
        return Read::Whole { used: input.len(), request: Err(Refusal::new(431, "", detail)) };
    }
    if is_no_http(kept) {
        let request = Err(Refusal::bad_request("this is no HTTP request"));
        return Read::Whole { used: input.len(), request };
    }
    Read::Unfinished
}

/// Whether the first bytes can't be a request line, such as a TLS hello on a plain port.
fn is_no_http(head: &[u8]) -> bool {
    head.iter().take(4).any(|byte| !byte.is_ascii_graphic() && !matches!(byte, b' ' | b'\r' | b'\n'))
}

fn parse(head: &[u8]) -> Result<Box<Upgrade>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::bad_request("the request's head is malformed")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "", format!("more than {REQUEST_HEADERS_MAX} header fields")));
        }
        Err(error) => return Err(Refusal::bad_request(format!("the request's head is malformed: {error}"))),
    }
    check(&request)
}

fn check(request: &httparse::Request<'_, '_>) -> Result<Box<Upgrade>, Refusal> {
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if request.method != Some("GET") {
        return Err(Refusal::bad_request("only GET can be upgraded to a WebSocket"));
    }
    if request.version != Some(1) {
        return Err(Refusal::bad_request("HTTP/1.1 is needed to upgrade to a WebSocket"));
    }
    if path != PATH {
        return Err(Refusal::new(404, "", "nothing is here: the WebSocket is at /ws"));
    }
    let fields = Fields(request.headers);
    if !fields.lists("upgrade", "websocket") || !fields.lists("connection", "upgrade") {
        let detail = "this address speaks WebSocket: connect with a WebSocket client; pages and the API have an \
                      address of their own";
        return Err(Refusal::upgrade_required(detail));
    }
    if fields.text("sec-websocket-version")? != Some("13") {
        return Err(Refusal::upgrade_required("only version 13 of the WebSocket protocol is spoken here"));
    }
    if fields.text("transfer-encoding")?.is_some()
        || fields.text("content-length")?.is_some_and(|len| len != "0")
    {
        return Err(Refusal::bad_request("an upgrade request has no body"));
    }
    if fields.text("host")?.is_none() {
        return Err(Refusal::bad_request("the Host header is missing"));
    }
    let key = fields.text("sec-websocket-key")?.unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(Box::new(Upgrade {
        token: token(query, &fields)?,
        user_hint: parameter(query, "user").and_then(|user| decimal(&user)),
        origin: fields.text("origin")?.map(str::to_owned),
        accept: derive_accept_key(key.as_bytes()),
        subprotocol: fields.items("sec-websocket-protocol").any(|item| item == SUBPROTOCOL),
    }))
}

fn token(query: &str, fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    if let Some(field) = fields.text("authorization")? {
        let (scheme, token) = field.split_once(' ').unwrap_or((field, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::unauthorized("Authorization must be: Bearer <token>"));
        }
        return Ok(Some(token.trim().to_owned()));
    }
    let offered =
        fields.items("sec-websocket-protocol").find_map(|item| item.strip_prefix(TOKEN_SUBPROTOCOL));
    Ok(offered.map(str::to_owned).or_else(|| parameter(query, "token")))
}

/// A query parameter, percent-decoded; none if it is absent or no UTF-8.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            decoded.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// Header fields by name, whatever its case.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// A field that may stand once and must be text.
    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::bad_request(format!("the header {name} may be there only once")));
        }
        let text = std::str::from_utf8(value);
        text.map(|text| Some(text.trim()))
            .map_err(|_| Refusal::bad_request(format!("the header {name} is not UTF-8")))
    }

    /// The items of a comma-separated list, over all fields of that name.
    fn items(&self, name: &'static str) -> impl Iterator<Item = &'a str> + '_ {
        let texts = self.all(name).filter_map(|value| std::str::from_utf8(value).ok());
        texts.flat_map(|text| text.split(',')).map(str::trim)
    }

    fn lists(&self, name: &'static str, item: &str) -> bool {
        self.items(name).any(|listed| listed.eq_ignore_ascii_case(item))
    }
}
