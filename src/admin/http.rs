//! The HTTP side: what is served under which path, to a bounded number of connections that each have a
//! bounded time to ask.

use super::collect::Collection;
use super::desk::Stage;
use super::exposition::{Format, to_prometheus};
use super::{histograms, metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::sync::Arc;
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
    <li><a href=/api/v1/histograms>/api/v1/histograms</a> latencies with quantiles, and in HdrHistogram's \
    encoding</ul>\n";

type Shared = Arc<Collection>;

pub async fn serve(listener: TcpListener, collection: Collection) {
    let router = router(Arc::new(collection));
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
    let text = metrics::open_metrics(shared.snapshot().await);
    let text = match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    };
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}

async fn show_health(State(shared): State<Shared>) -> Response {
    let snapshot = shared.snapshot().await;
    let cores = snapshot.cores.iter().enumerate();
    let silent: Vec<usize> = cores.filter(|(_, core)| !core.has_answered).map(|(idx, _)| idx).collect();
    let n_cores = snapshot.cores.len();
    if silent.is_empty() {
        answer(StatusCode::OK, &json!({"status": "ok", "cores": n_cores}))
    } else {
        let wrong = json!({"status": "failing", "cores": n_cores, "silent_cores": silent});
        answer(StatusCode::SERVICE_UNAVAILABLE, &wrong)
    }
}

async fn show_readiness(State(shared): State<Shared>) -> Response {
    let stage = shared.shared.stage();
    let status = if stage == Stage::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({"status": stage.name()}))
}

async fn show_histograms(State(shared): State<Shared>) -> Response {
    answer(StatusCode::OK, &histograms::to_json(&shared.snapshot().await))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
