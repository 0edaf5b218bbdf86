//! HTTP as far as a load run needs it, for groups and for a server's metrics: one request, one answer,
//! one connection.

use protocol::limits::GROUP_MEMBERS_PER_CALL_MAX;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use thiserror::Error;

const ANSWER: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer, or none that was expected.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error(
        "cannot reach http://{0} ({1}): --api and --admin must be what `ringway dev` printed, without a path"
    )]
    Unreachable(String, std::io::Error),
    #[error("http://{0} did not answer within {seconds} s", seconds = ANSWER.as_secs())]
    Slow(String),
    #[error("the server answered {0} to {1}: {2}")]
    Refused(u16, String, String),
    #[error("the server's answer to {0} is not what was expected: {1}")]
    Unexpected(String, String),
}

/// Reads `http://host:port`.
pub fn host(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://");
    let host = rest.map(|rest| rest.trim_end_matches('/')).filter(|rest| {
        rest.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    });
    host.map(str::to_owned).ok_or_else(|| format!("expected http://HOST:PORT, got {url:?}"))
}

/// Makes a group of its owner and `others`; returns its conversation id.
pub(crate) fn make_group(host: &str, token: &str, name: &str, others: &[u64]) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Made {
        group_id: String,
        conversation_id: String,
    }
    let mut calls = others.chunks(GROUP_MEMBERS_PER_CALL_MAX).map(strings);
    let body = serde_json::json!({ "name": name, "members": calls.next().unwrap_or_default() });
    let answer = post(host, token, "/api/groups", &body.to_string())?;
    let made: Made = serde_json::from_str(&answer)
        .map_err(|error| ApiError::Unexpected("POST /api/groups".to_owned(), error.to_string()))?;
    for more in calls {
        let path = format!("/api/groups/{}/members", made.group_id);
        post(host, token, &path, &serde_json::json!({ "userIds": more }).to_string())?;
    }
    Ok(made.conversation_id)
}

fn strings(users: &[u64]) -> Vec<String> {
    users.iter().map(u64::to_string).collect()
}

fn post(host: &str, token: &str, path: &str, body: &str) -> Result<String, ApiError> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    ask(host, &format!("POST {path}"), &request)
}

/// What a page says.
pub(crate) fn get(host: &str, path: &str) -> Result<String, ApiError> {
    // HTTP/1.0 has no chunks.
    ask(host, &format!("GET {path}"), &format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"))
}

fn ask(host: &str, what: &str, request: &str) -> Result<String, ApiError> {
    let answer = exchange(host, request).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => ApiError::Slow(host.to_owned()),
        _ => ApiError::Unreachable(host.to_owned(), error),
    })?;
    let (status, body) =
        parse(&answer).ok_or_else(|| ApiError::Unexpected(what.to_owned(), "no HTTP response".to_owned()))?;
    if !(200..300).contains(&status) {
        return Err(ApiError::Refused(status, what.to_owned(), body));
    }
    Ok(body)
}

/// Sends a request and reads until the server closes, which `Connection: close` asks for.
fn exchange(host: &str, request: &str) -> std::io::Result<Vec<u8>> {
    let address = host.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![];
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).ok()? else { return None };
    Some((response.code?, String::from_utf8_lossy(&answer[head..]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{host, parse};

    #[test]
    fn the_api_is_named_by_host_and_port() {
        assert_eq!(host("http://127.0.0.1:8081/").unwrap(), "127.0.0.1:8081");
        for url in ["https://a:1", "127.0.0.1:8081", "http://:1", "http://a", "http://a:b"] {
            assert!(host(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        assert_eq!(parse(b"HTTP/1.1 201 Created\r\na: b\r\n\r\n{}"), Some((201, "{}".to_owned())));
        assert_eq!(parse(b"HTTP/1.1 201"), None);
    }
}
