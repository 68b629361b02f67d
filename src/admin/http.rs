//! The HTTP side: what is served under which path, to a bounded number of connections that each have a
//! bounded time to ask.

use super::collect::Collection;
use super::desk::Stage;
use super::exposition::{Format, to_prometheus};
use super::monitor::{BadQuery, Query, connz, subsz, varz};
use super::process::{Processor, resident_bytes};
use super::{histograms, metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to ask, or to ask again.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// How long it may last in all, so that one that does not read its answer goes too.
const LAST_AT_MOST: Duration = Duration::from_secs(600);

/// What a request's head may be, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long accepting pauses when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Strait</title><h1>Strait</h1><ul>\
    <li><a href=/metrics>/metrics</a> counters and latency histograms, as Prometheus text or OpenMetrics\
    <li><a href=/healthz>/healthz</a> whether every core answers\
    <li><a href=/readyz>/readyz</a> whether clients are served\
    <li><a href=/varz>/varz</a>, <a href=/connz>/connz</a>, <a href=/subsz>/subsz</a> the gateway, its \
    connections and its subscriptions, as nats-server shows them\
    <li><a href=/api/v1/histograms>/api/v1/histograms</a> latencies with quantiles, and in HdrHistogram's \
    encoding</ul>\n";

type Shared = Arc<Admin>;

/// What requests share.
struct Admin {
    collection: Collection,
    processor: Mutex<Processor>,
    /// How often each of `COUNTED` was asked for.
    n_requests: [AtomicU64; COUNTED.len()],
}

/// The paths whose requests `/varz` counts.
const COUNTED: [&str; 4] = ["/varz", "/connz", "/subsz", "/healthz"];

impl Admin {
    fn count(&self, path: &str) {
        if let Some(idx) = COUNTED.iter().position(|own| *own == path) {
            self.n_requests[idx].fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub async fn serve(listener: TcpListener, collection: Collection) {
    let router = router(Arc::new(Admin {
        collection,
        processor: Mutex::default(),
        n_requests: [const { AtomicU64::new(0) }; COUNTED.len()],
    }));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = room.clone().acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(converse(socket, router.clone(), permit));
            }
            Err(error) => {
                tracing::debug!("accepting admin connections: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(socket: TcpStream, router: Router, _permit: OwnedSemaphorePermit) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASK_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    // How it ends concerns the peer alone.
    let _ = tokio::time::timeout(LAST_AT_MOST, connection).await;
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .route("/readyz", get(show_readiness))
        .route("/api/v1/histograms", get(show_histograms))
        .route("/varz", get(show_varz))
        .route("/connz", get(show_connz))
        .route("/subsz", get(show_subsz))
        .route("/subscriptionsz", get(show_subsz))
        .fallback(async || answer(StatusCode::NOT_FOUND, &json!({"error": "no such path; / lists them"})))
        .method_not_allowed_fallback(async || {
            answer(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET and HEAD are served"}))
        })
        .with_state(shared)
}

async fn show_metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let text = metrics::open_metrics(shared.collection.snapshot().await);
    let text = match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    };
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn show_health(State(shared): State<Shared>) -> Response {
    shared.count("/healthz");
    let snapshot = shared.collection.snapshot().await;
    let cores = snapshot.cores.iter().enumerate();
    let silent: Vec<usize> = cores.filter(|(_, core)| !core.has_answered).map(|(idx, _)| idx).collect();
    let n_cores = snapshot.cores.len();
    if silent.is_empty() {
        answer(StatusCode::OK, &json!({"status": "ok", "cores": n_cores}))
    } else {
        // nats-server's words, and which cores it is.
        let error = format!("no answer from {} of {n_cores} cores", silent.len());
        let wrong = json!({
            "status": "unavailable",
            "error": error,
            "cores": n_cores,
            "silent_cores": silent,
        });
        answer(StatusCode::SERVICE_UNAVAILABLE, &wrong)
    }
}

async fn show_readiness(State(shared): State<Shared>) -> Response {
    let stage = shared.collection.shared.stage();
    let status = if stage == Stage::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({"status": stage.name()}))
}

async fn show_histograms(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, &histograms::to_json(&shared.collection.snapshot().await))
}

async fn show_varz(State(shared): State<Shared>) -> Response {
    shared.count("/varz");
    let snapshot = shared.collection.snapshot().await;
    let now = shared.collection.now();
    let requests = COUNTED.iter().zip(&shared.n_requests);
    let usage = varz::Usage {
        resident_bytes: resident_bytes(),
        processor_percent: shared.processor.lock().map_or(0.0, |mut processor| processor.percent(now)),
        requests: requests.map(|(path, n)| (*path, n.load(Ordering::Relaxed))).collect(),
    };
    answer_at_length(&varz::to_json(&shared.collection.shared.about, &snapshot, &usage, now))
}

async fn show_connz(State(shared): State<Shared>, uri: Uri) -> Response {
    shared.count("/connz");
    match connz::Wanted::parse(&Query::parse(uri.query().unwrap_or(""))) {
        Ok(wanted) => {
            answer_at_length(&connz::to_json(&shared.collection, &wanted, shared.collection.now()).await)
        }
        Err(bad) => refuse(bad),
    }
}

async fn show_subsz(State(shared): State<Shared>, uri: Uri) -> Response {
    shared.count("/subsz");
    match subsz::Wanted::parse(&Query::parse(uri.query().unwrap_or(""))) {
        Ok(wanted) => {
            let snapshot = shared.collection.snapshot().await;
            let now = shared.collection.now();
            answer_at_length(&subsz::to_json(&shared.collection, &wanted, &snapshot, now).await)
        }
        Err(bad) => refuse(bad),
    }
}

/// What a person may read as well.
fn answer_at_length(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

fn refuse(BadQuery(text): BadQuery) -> Response {
    (StatusCode::BAD_REQUEST, text + "\n").into_response()
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
