//! Where metrics go: a page that Prometheus asks for, and a file for node_exporter's textfile collector.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::metrics::prometheus;
use super::picture::Picture;

/// Publishes pictures as metrics.
pub struct Exporter {
    page: Arc<Mutex<String>>,
    file: Option<PathBuf>,
    address: Option<SocketAddr>,
    failed: bool,
}

impl Exporter {
    /// Listens on an address, when one is given (`GET /metrics`), and writes a file, when one is given.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open(address: Option<SocketAddr>, file: Option<PathBuf>) -> std::io::Result<Self> {
        let page = Arc::<Mutex<String>>::default();
        let mut bound = None;
        if let Some(address) = address {
            let listener = TcpListener::bind(address).await?;
            bound = Some(listener.local_addr()?);
            tokio::spawn(serve(listener, Arc::clone(&page)));
        }
        Ok(Self { page, file, address: bound, failed: false })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Makes this picture what is asked for. A file is replaced whole; a failure is said once and stops nothing.
    pub fn publish(&mut self, picture: &Picture) {
        let text = prometheus(picture);
        if let Some(file) = &self.file {
            let next = file.with_extension("prom.next");
            let written = std::fs::write(&next, &text).and_then(|()| std::fs::rename(&next, file));
            if let Err(error) = written
                && !std::mem::replace(&mut self.failed, true)
            {
                tracing::warn!(%error, file = %file.display(), "metrics cannot be written");
            }
        }
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

async fn serve(listener: TcpListener, page: Arc<Mutex<String>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await; // out of file descriptors, say
            continue;
        };
        let page = Arc::clone(&page);
        let answer = move |request: Request<hyper::body::Incoming>| {
            let text = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), text)) }
        };
        tokio::spawn(async move {
            let service = hyper::service::service_fn(answer);
            // A client that goes away has its answer or wants none.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(method: &Method, path: &str, text: String) -> Response<String> {
    let (status, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, text),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "GET /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
