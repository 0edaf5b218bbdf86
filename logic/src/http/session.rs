//! How a page finds the socket, and tokens for development.

use super::Api;
use super::problem::{Code, Problem};
use super::request::{Body, User};
use crate::clock;
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::{UnixMs, token};
use serde::Deserialize;
use serde_json::json;
use std::net::SocketAddr;

/// How long a development token from the API is valid.
const DEV_TOKEN_TTL_MS: u64 = 24 * 3_600_000;

/// The socket's address as this client can reach it: where a gateway listens on every address, the
/// host that the client has asked for.
pub(super) async fn config(State(api): State<Api>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let url = api.socket_url.replace("{host}", host.map_or("127.0.0.1", host_name));
    Json(json!({"socketUrl": url, "dev": api.dev_key.is_some()})).into_response()
}

/// A Host field without its port.
fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenRequest {
    user_id: User,
}

pub(super) async fn dev_token(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(TokenRequest { user_id }): Body<TokenRequest>,
) -> Result<Response, Problem> {
    let key = api.dev_key.filter(|_| peer.ip().to_canonical().is_loopback()).ok_or_else(|| {
        let detail = "development tokens are given out by `ringway dev` only, and to this machine only";
        Problem::new(StatusCode::FORBIDDEN, Code::Forbidden, detail)
    })?;
    let expires_at = UnixMs(clock::now().0 + DEV_TOKEN_TTL_MS);
    let token = token::mint_hs256(&key, user_id.0, None, expires_at);
    Ok(Json(json!({"token": token, "expiresAt": expires_at})).into_response())
}
