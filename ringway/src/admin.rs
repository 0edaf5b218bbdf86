//! The admin port: `/metrics` and `/shards`.

use crate::metrics::{self, Sources};
use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::net::SocketAddr;
use std::thread;
use tokio::runtime::Builder;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves on a thread of its own until the process ends; returns where.
pub(crate) fn serve(address: SocketAddr, sources: Sources) -> Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address));
    let listener = listener.with_context(|| {
        format!(
            "cannot listen on {address} for the admin port: stop what has it, or choose another with --admin"
        )
    })?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/metrics", get(async |State(sources): State<Sources>| text(&sources)))
        .route("/shards", get(async |State(sources): State<Sources>| Json(metrics::shards(&sources))))
        .fallback(async || (StatusCode::NOT_FOUND, "here are /metrics and /shards\n"))
        .with_state(sources);
    let work = move || {
        if let Err(error) = runtime.block_on(async { axum::serve(listener, app).await }) {
            tracing::error!(%error, "the admin port has ended");
        }
    };
    thread::Builder::new().name("admin".into()).spawn(work).context("cannot start the admin thread")?;
    Ok(address)
}

fn text(sources: &Sources) -> Response {
    match metrics::openmetrics(sources) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
