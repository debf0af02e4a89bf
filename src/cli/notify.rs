//! A word to systemd: that the run goes on, how far it is, that it ends (sd_notify(3)).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::pace::{Pace, line};
use crate::progress::Progress;

const TELL_EVERY: Duration = Duration::from_secs(5);

/// Tells how far the run is until it is dropped; nothing where nobody has asked.
pub struct Notifying {
    task: Option<tokio::task::JoinHandle<()>>,
    to: Option<Arc<Socket>>,
}

impl Notifying {
    /// Begins, where the service manager has said where it listens.
    pub fn start(progress: Arc<Progress>) -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").filter(|to| !to.is_empty());
        let to = to
            .and_then(|to| Socket::to(to.as_bytes()).ok())
            .map(Arc::new);
        let task = to.clone().map(|to| {
            to.say("READY=1\nSTATUS=planning");
            tokio::spawn(keep_telling(to, progress))
        });
        Self { task, to }
    }
}

impl Drop for Notifying {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(to) = &self.to {
            to.say("STOPPING=1\nSTATUS=ending");
        }
    }
}

async fn keep_telling(to: Arc<Socket>, progress: Arc<Progress>) {
    let mut pace = Pace::default();
    loop {
        if progress.has_begun() {
            let now = progress.snapshot();
            let rate = pace.rate(&now);
            to.say(&format!("STATUS={}", line(&now, &rate)));
        }
        tokio::time::sleep(TELL_EVERY).await;
    }
}

/// Where the service manager listens.
struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Socket {
    /// `@` stands for the zero byte with which an abstract name begins.
    fn to(name: &[u8]) -> std::io::Result<Self> {
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address })
    }

    /// Whether it is heard is no concern of the run.
    fn say(&self, text: &str) {
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_sockets_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let mut buffer = [0; 64];
        let listener = UnixDatagram::bind(&path).unwrap();
        let name = path.as_os_str().as_bytes();
        Socket::to(name).unwrap().say("READY=1");
        let read = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"READY=1");
        let name = format!("windlass-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        let to = Socket::to(format!("@{name}").as_bytes()).unwrap();
        to.say("STATUS=50%");
        let read = listener.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"STATUS=50%");
        drop(listener);
        // Nobody listens any more: nothing happens.
        to.say("STOPPING=1");
    }
}
