//! The chat page, from the binary.

use super::Api;
use axum::Router;

pub(super) fn routes(router: Router<Api>) -> Router<Api> {
    router
}
