//! The admin port: `/livez`, `/readyz`, `/metrics` and `/shards`.

use crate::health::{Health, Report};
use crate::metrics::{self, Sources};
use anyhow::{Context, Result};
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread;
use tokio::runtime::Builder;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An admin port that answers.
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shown: Shown,
}

/// What it shows.
#[derive(Debug, Clone)]
struct Shown {
    health: Arc<Health>,
    sources: Arc<OnceLock<Sources>>,
}

/// Serves on a thread of its own until the process ends. Comes before everything else, so that
/// probes are answered while the rest starts.
pub(crate) fn serve(address: SocketAddr, health: Arc<Health>) -> Result<Admin> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address));
    let listener = listener.with_context(|| {
        format!(
            "cannot listen on {address} for the admin port: stop what has it, or choose another with --admin"
        )
    })?;
    let address = listener.local_addr()?;
    let shown = Shown { health, sources: Arc::default() };
    let app = router(shown.clone());
    let work = move || {
        if let Err(error) = runtime.block_on(async { axum::serve(listener, app).await }) {
            tracing::error!(%error, "the admin port has ended");
        }
    };
    thread::Builder::new().name("admin".into()).spawn(work).context("cannot start the admin thread")?;
    Ok(Admin { address, shown })
}

impl Admin {
    /// There are figures to show from now on.
    pub(crate) fn show(&self, sources: Sources) {
        let first = self.shown.sources.set(sources).is_ok();
        debug_assert!(first, "a process starts once");
    }
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route(
            "/livez",
            get(async |State(shown): State<Shown>, query: RawQuery| probe(&shown.health.live(), query)),
        )
        .route(
            "/readyz",
            get(async |State(shown): State<Shown>, query: RawQuery| probe(&shown.health.ready(), query)),
        )
        .route("/metrics", get(async |State(shown): State<Shown>| shown.figures(text)))
        .route(
            "/shards",
            get(async |State(shown): State<Shown>| {
                shown.figures(|sources| Json(metrics::shards(sources)).into_response())
            }),
        )
        .fallback(async || {
            (StatusCode::NOT_FOUND, "here are /livez, /readyz, /metrics and /shards\n").into_response()
        })
        .with_state(shown)
}

fn probe(report: &Report, RawQuery(query): RawQuery) -> Response {
    let parameters = query.iter().flat_map(|query| query.split('&'));
    let verbose = parameters.map(|parameter| parameter.split('=').next()).any(|name| name == Some("verbose"));
    let status = if report.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], report.text(verbose)).into_response()
}

impl Shown {
    fn figures(&self, show: impl FnOnce(&Sources) -> Response) -> Response {
        let starting = || (StatusCode::SERVICE_UNAVAILABLE, "starting: no figures yet\n").into_response();
        self.sources.get().map_or_else(starting, show)
    }
}

fn text(sources: &Sources) -> Response {
    match metrics::openmetrics(sources) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
