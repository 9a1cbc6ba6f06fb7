//! The obvious design: a hash set of strings behind a lock, filled anew from the file when somebody asks. It checks
//! tokens and answers as `seckill` does, and does nothing else.

use std::{
    collections::HashSet,
    convert::Infallible,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use server::{clock, seckill::TokenKey, secrets, tasks::Tasks};
use tokio::{net::TcpListener, task::spawn_blocking};

use crate::Failed;

struct Server {
    list: RwLock<HashSet<String>>,
    file: PathBuf,
    tokens: TokenKey,
}

pub(crate) fn serve(secret: &str, file: &str) -> Result<(), Failed> {
    let file = PathBuf::from(file);
    let tokens = secrets::load_token_key(Path::new(secret))?;
    let server = Arc::new(Server { list: RwLock::new(read(&file)?), file, tokens });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        io::stdout().flush()?;
        let tasks = Tasks::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let server = Arc::clone(&server);
            drop(tasks.spawn(async move {
                let answer = service_fn(|request| answer(Arc::clone(&server), request));
                http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
            }));
        }
    })
}

fn read(file: &Path) -> io::Result<HashSet<String>> {
    let text = fs::read_to_string(file)?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/event/list") => (StatusCode::OK, r#"{"events":[]}"#),
        (&Method::POST, "/orders") => (order(&server, &request), r#"{"title":"Blacklisted"}"#),
        (&Method::POST, "/reload") => (reload(server).await, "{}"),
        _ => (StatusCode::NOT_FOUND, "{}"),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

fn order(server: &Server, request: &Request<Incoming>) -> StatusCode {
    let field = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = field.and_then(|field| field.strip_prefix("Bearer "));
    match token.and_then(|token| server.tokens.verify(token, clock::now()).ok()) {
        Some(user) => {
            let list = server.list.read().unwrap_or_else(PoisonError::into_inner);
            if list.contains(&user.to_string()) { StatusCode::FORBIDDEN } else { StatusCode::OK }
        }
        None => StatusCode::UNAUTHORIZED,
    }
}

async fn reload(server: Arc<Server>) -> StatusCode {
    let replace = move || {
        let next = read(&server.file)?;
        *server.list.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok::<_, io::Error>(())
    };
    match spawn_blocking(replace).await {
        Ok(Ok(())) => StatusCode::OK,
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
