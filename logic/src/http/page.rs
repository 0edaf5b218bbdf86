//! The chat page, from the binary.

use super::Api;
use axum::Router;
use axum::http::header;
use axum::routing::get;

/// Scripts and styles only from here, and nothing inline; the socket may be anywhere.
const POLICY: &str =
    "default-src 'self'; connect-src *; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'";

struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $kind:literal, $name:literal) => {
        File { path: $path, kind: $kind, text: include_str!(concat!("../../../page/", $name)) }
    };
}

const FILES: &[File] = &[
    file!("/", "text/html; charset=utf-8", "index.html"),
    file!("/app.css", "text/css; charset=utf-8", "app.css"),
    file!("/app.js", "text/javascript; charset=utf-8", "app.js"),
    file!("/client.js", "text/javascript; charset=utf-8", "client.js"),
    file!("/connection.js", "text/javascript; charset=utf-8", "connection.js"),
    file!("/dialogs.js", "text/javascript; charset=utf-8", "dialogs.js"),
    file!("/dom.js", "text/javascript; charset=utf-8", "dom.js"),
    file!("/http-api.js", "text/javascript; charset=utf-8", "http-api.js"),
    file!("/ids.js", "text/javascript; charset=utf-8", "ids.js"),
    file!("/link-view.js", "text/javascript; charset=utf-8", "link-view.js"),
    file!("/list-view.js", "text/javascript; charset=utf-8", "list-view.js"),
    file!("/log-view.js", "text/javascript; charset=utf-8", "log-view.js"),
    file!("/model.js", "text/javascript; charset=utf-8", "model.js"),
    file!("/outbox.js", "text/javascript; charset=utf-8", "outbox.js"),
    file!("/sign-in.js", "text/javascript; charset=utf-8", "sign-in.js"),
    file!("/sync.js", "text/javascript; charset=utf-8", "sync.js"),
    file!("/talk-view.js", "text/javascript; charset=utf-8", "talk-view.js"),
    file!("/timeline.js", "text/javascript; charset=utf-8", "timeline.js"),
];

/// Adds the page's files to `router`.
pub(super) fn routes(router: Router<Api>) -> Router<Api> {
    FILES.iter().fold(router, |router, file| {
        let headers = [
            (header::CONTENT_TYPE, file.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        router.route(file.path, get(async move || (headers, file.text)))
    })
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn every_script_of_the_page_is_served() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../page");
        let mut scripts: Vec<_> = std::fs::read_dir(page)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".js") || name.ends_with(".css"))
            .map(|name| format!("/{name}"))
            .collect();
        scripts.sort();
        let mut served: Vec<_> =
            FILES.iter().map(|file| file.path.to_owned()).filter(|path| path != "/").collect();
        served.sort_unstable();
        assert_eq!(served, scripts);
    }
}
