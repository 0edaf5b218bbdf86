//! The HTTP API: groups, conversations and the page, behind a bearer token. Errors are RFC 9457
//! problems.

mod conversations;
mod groups;
mod openapi;
mod operations;
mod page;
mod problem;
mod request;
mod session;

use crate::groups::Groups;
use crate::outbound::Tell;
use crate::stats::Stats;
use crate::store::{Marks, Reader};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, header};
use operations::OPERATIONS;
use problem::{Code, Problem};
use protocol::event::{self, Change};
use protocol::limits::HTTP_BODY_BYTES_MAX;
use protocol::record::EntryKind;
use protocol::token::Keys;
use protocol::{ConversationId, UserId};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    /// The groups.
    pub groups: Arc<Mutex<Groups>>,
    /// Reads histories and lists.
    pub reader: Arc<Mutex<Box<dyn Reader>>>,
    /// Moves read marks.
    pub marks: Arc<Mutex<Box<dyn Marks>>>,
    /// Tells sessions what has changed.
    pub tell: Arc<dyn Tell>,
    /// Counts.
    pub stats: Arc<Stats>,
    /// The keys of tokens, as they are now.
    pub keys: watch::Receiver<Keys>,
    /// The key that signs development tokens; none outside `dev`.
    pub dev_key: Option<Arc<[u8]>>,
    /// Where the socket is; `{host}` stands for the host that the client asked for.
    pub socket_url: Arc<str>,
    /// Pages of other origins that may use the API.
    pub origins: Arc<[String]>,
}

/// The routes.
pub fn router(api: Api) -> Router {
    let cors = cors(&api.origins);
    let routes = OPERATIONS
        .iter()
        .fold(Router::new(), |router, operation| router.route(operation.path, (operation.handle)()));
    page::routes(routes)
        .fallback(async || {
            let detail = "nothing is here: the page is at /, the API at /api";
            Problem::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
        })
        .method_not_allowed_fallback(async || {
            let detail = "this path does not take that method: Allow says which";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, detail)
        })
        .layer(DefaultBodyLimit::max(HTTP_BODY_BYTES_MAX))
        .layer(cors)
        .with_state(api)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
}

impl Api {
    /// Tells users what became of their membership.
    async fn tell_change(&self, conversation: ConversationId, change: Change, users: Vec<UserId>) {
        self.tell(EntryKind::Update, users, event::conversation_update(conversation, change)).await;
    }

    async fn tell(&self, kind: EntryKind, users: Vec<UserId>, payload: Vec<u8>) {
        let tell = Arc::clone(&self.tell);
        // It waits while a shard is behind, which must not hold up other calls.
        let told = tokio::task::spawn_blocking(move || tell.tell(kind, &users, &payload)).await;
        if told.is_err() {
            tracing::error!("telling sessions about a change panicked");
        }
    }
}
