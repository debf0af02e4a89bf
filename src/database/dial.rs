//! Connections that sqlx cannot open by itself: to a server that is to be known by its certificate
//! as libpq knows it, or whose address is not its name.
//!
//! sqlx takes a host or a socket and nothing else. So the connection is opened here, and what goes
//! over it is handed through a socket of this process's own, which nobody else can connect to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use super::tls::{TlsPlan, words};
use super::{ConnectOptions, PostgresUrl};

/// PostgreSQL's own, and what the name of our socket ends with, as sqlx asks for it.
const POSTGRES_PORT: u16 = 5432;
/// Of one direction of one connection.
const BUFFER_BYTES: usize = 64 << 10;
/// "Do you speak TLS?": a length and a number that is no version.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A server that sqlx cannot be sent to by itself.
#[derive(Debug)]
pub(super) struct Server {
    host: String,
    address: Option<String>,
    port: u16,
    tls: Option<TlsPlan>,
}

impl Server {
    /// The one server of this URL; none where sqlx does all of it by itself.
    pub(super) fn of(
        url: &PostgresUrl,
        options: &ConnectOptions,
    ) -> Result<Option<Self>, sqlx::Error> {
        let tls = TlsPlan::of(url, options).map_err(tls_error)?;
        let is_particular = tls.as_ref().is_some_and(TlsPlan::is_particular);
        let address = url.addresses.first().cloned();
        match &url.host {
            // Over a socket no TLS is spoken, whatever was asked for.
            Some(host) if !host.starts_with('/') && (is_particular || address.is_some()) => {
                Ok(Some(Self {
                    host: host.clone(),
                    address,
                    port: url.port.unwrap_or(POSTGRES_PORT),
                    tls,
                }))
            }
            _ => Ok(None),
        }
    }

    async fn dial(&self) -> Result<Box<dyn Wire>, sqlx::Error> {
        let address = self.address.as_deref().unwrap_or(&self.host);
        let mut tcp = TcpStream::connect((address, self.port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        if !tls.direct {
            tcp.write_all(&TLS_REQUEST).await?;
            match (tcp.read_u8().await?, tls.optional) {
                (b'S', _) => {}
                (b'N', true) => return Ok(Box::new(tcp)),
                (b'N', false) => return Err(tls_error("the server offers none".into())),
                _ => return Err(tls_error("what answers there is no PostgreSQL".into())),
            }
        }
        let config = tls.client(&self.host).map_err(tls_error)?;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| tls_error(format!("{} is no name of a host", self.host)))?;
        let connector = TlsConnector::from(Arc::new(config));
        let inside = connector.connect(name, tcp).await;
        Ok(Box::new(inside.map_err(|error| tls_error(words(&error)))?))
    }
}

fn tls_error(why: String) -> sqlx::Error {
    sqlx::Error::Tls(why.into())
}

/// A socket that leads to a server. It is gone when this is dropped; what has connected goes on.
#[derive(Debug)]
pub(super) struct Tunnel {
    directory: PathBuf,
    accepting: AbortHandle,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Tunnel {
    /// Opens a connection to the server, for one who connects.
    pub(super) async fn to(server: &Server) -> Result<Self, sqlx::Error> {
        let wire = server.dial().await?;
        Self::open(|listener| async move {
            if let Ok(local) = accept(&listener).await {
                tokio::spawn(relay(local, wire));
            }
        })
    }

    fn open<F>(serve: impl FnOnce(UnixListener) -> F) -> Result<Self, sqlx::Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A name without a file: nothing is left behind, and no directory needs to be writable.
        let directory = format!("\0windlass-{}", Uuid::new_v4());
        let listener = UnixListener::bind(format!("{directory}/.s.PGSQL.{POSTGRES_PORT}"))?;
        Ok(Self {
            directory: directory.into(),
            accepting: tokio::spawn(serve(listener)).abort_handle(),
        })
    }

    /// Where sqlx finds the socket.
    pub(super) fn options(
        &self,
        options: sqlx::postgres::PgConnectOptions,
    ) -> sqlx::postgres::PgConnectOptions {
        options
            .socket(&self.directory)
            .port(POSTGRES_PORT)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    }
}

/// The next of this very process; others are turned away.
async fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (local, _) = listener.accept().await?;
        let peer = local.peer_cred()?.pid();
        if peer.is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id())) {
            return Ok(local);
        }
    }
}

async fn relay(mut local: UnixStream, mut wire: Box<dyn Wire>) {
    let both =
        tokio::io::copy_bidirectional_with_sizes(&mut local, &mut wire, BUFFER_BYTES, BUFFER_BYTES);
    // Either side's end is the other's: sqlx sees a connection that was cut.
    let _ = both.await;
}
