//! `serve`: the page of a task while it runs, for browsers. It only reads: whatever stands in the database
//! stays as it is.

mod answer;
mod guard;
mod look;
mod lookout;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use self::answer::Answers;
use self::guard::Guard;
use self::lookout::{Lookout, Subject};
use super::args::{Global, ServeArgs};
use super::fault::{Code, refused};
use super::signals::Signals;
use super::{ExitStatus, Printer, connect, latest};
use crate::catalog::Catalog;
use crate::database::{ConnectOptions, Database, DatabaseUrl};
use crate::engine;

/// Connections at once; whoever comes behind them waits for a place.
const CONNECTIONS_MAX: usize = 64;

/// How long whoever has connected may take to say what it wants.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// No connection stays for longer: a browser whose stream ends asks for another.
const CONNECTION_LIMIT: Duration = Duration::from_secs(11 * 60);

/// How long connecting to the database may take: a page that says that it is away is better than one that
/// waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What is printed once, when browsers are answered.
#[derive(Serialize)]
struct Serving {
    /// What to open, with the token where one is asked for.
    url: String,
    /// The address that is listened at.
    listen: SocketAddr,
    /// The task; none where all are shown.
    task_id: Option<i64>,
    /// What whoever asks must know, where anybody can ask.
    token: Option<String>,
}

pub async fn run(
    args: &ServeArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    // Listened for from here on, also while the database is asked.
    let mut signals = Signals::listen()?;
    let serving = async {
        let (catalog, url, home) = open(args, global).await?;
        let (listener, at) = listen(args.listen).await?;
        let guard = Guard::at(at.ip());
        let place = url.redacted();
        let lookout = Arc::new(Lookout::new(catalog, place, home, guard.query()));
        tell(printer, &guard, at, home);
        let answers = Arc::new(Answers::new(guard, lookout.clone()));
        tokio::select! {
            () = accept(listener, answers) => {}
            () = lookout.look_on() => {}
        }
        Ok(ExitStatus::Complete)
    };
    tokio::select! {
        ended = serving => ended,
        () = signals.next() => Ok(ExitStatus::Complete),
    }
}

/// The catalog, over one connection that can't write, and what `/` leads to.
async fn open(
    args: &ServeArgs,
    global: &Global,
) -> anyhow::Result<(Catalog, DatabaseUrl, Subject)> {
    let url = match &args.task {
        Some(task) => connect::url_of_task(global, task)?,
        None => latest::one_database(global, "all tasks")?,
    };
    let usual = connect::connect_options(global, &url);
    let options = ConnectOptions {
        connect_timeout: usual.connect_timeout.min(CONNECT_LIMIT),
        // A second one only while an answer takes so long that the server must be asked for a sign of life.
        max_connections: 2,
        read_only: true,
        ..usual
    };
    let database = Database::connect(&url, &options).await?;
    let (catalog, home) = match &args.task {
        Some(task) => {
            let catalog = Catalog::open_at_task(database, task).await?;
            catalog.refuse_older_schema().await?;
            let task_id = catalog.task(task).await?.task_id;
            (catalog, Subject::Task(task_id))
        }
        None => {
            let catalog = Catalog::open(database).await?;
            catalog.refuse_older_schema().await?;
            (catalog, Subject::List)
        }
    };
    catalog.database().keep_one().await;
    Ok((catalog, url, home))
}

async fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let why = format!("cannot serve the page at {address}: {error}; name another port");
        refused(Code::Address, why)
    })?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

fn tell(printer: &Printer, guard: &Guard, at: SocketAddr, home: Subject) {
    let host = match at.ip() {
        ip if ip.is_unspecified() => engine::host(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    let path = match home {
        Subject::List => "/".to_owned(),
        Subject::Task(id) => format!("/tasks/{id}"),
    };
    let url = format!("http://{host}:{}{path}{}", at.port(), guard.query());
    let serving = Serving {
        url,
        listen: at,
        task_id: match home {
            Subject::List => None,
            Subject::Task(id) => Some(id),
        },
        token: guard.token().map(str::to_owned),
    };
    printer.result(&serving, || serving.url.clone());
    if guard.token().is_some() {
        tracing::warn!(
            "the page can be read from other machines by whoever has this URL, and nothing of it is \
             encrypted on its way; to keep it on this machine: --listen {} and ssh -L",
            at.port()
        );
    }
    printer.mention("it only reads, and shows the task until Ctrl-C");
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Nobody closes it.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((connection, _)) => {
                let answering = answer(connection, answers.clone());
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_LIMIT, answering).await;
                    drop(place);
                });
            }
            // Out of files, say: whoever asks comes again.
            Err(error) => {
                tracing::debug!("the page: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(connection: TcpStream, answers: Arc<Answers>) {
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, std::convert::Infallible>(answers.to(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        // A page is asked for once, and then told; nobody holds a place for what it may ask next.
        .keep_alive(false)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(connection), service);
    if let Err(error) = served.await {
        tracing::debug!("the page: {error}");
    }
}
