//! A server that answers as no sound one does: what it sends is written out byte by byte.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is sent.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status line's rest and these headers, and a body of the right length.
    Whole(String, Vec<u8>),
    /// These headers, and chunks of this for as long as somebody takes them.
    Endless(String, &'static str),
    /// Headers without an end.
    EndlessHeaders,
}

impl Answer {
    /// `200 OK`, say, with more headers behind it.
    pub fn whole(head: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole(head.to_owned(), body.into())
    }
}

/// A request that has come.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    /// All header lines as they came.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn has(&self, text: &str) -> bool {
        self.headers.iter().any(|line| line.contains(text))
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

pub struct RawServer {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent_bytes: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl RawServer {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = listener.local_addr().expect("a bound port").port();
        let server = Self {
            url: format!("http://127.0.0.1:{port}"),
            asked: Arc::default(),
            sent_bytes: Arc::default(),
            ended: Arc::default(),
        };
        let handler: Arc<Handler> = Arc::new(handler);
        let (asked, sent, ended) = (
            server.asked.clone(),
            server.sent_bytes.clone(),
            server.ended.clone(),
        );
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, asked) = (handler.clone(), asked.clone());
                let (sent, ended) = (sent.clone(), ended.clone());
                thread::spawn(move || {
                    // Ends with the connection, whoever closes it.
                    let _ = serve(stream, &*handler, &asked, &sent, &ended);
                });
            }
        });
        server
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic under the lock").clone()
    }

    /// What could be sent of bodies without an end.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// An S3 of one bucket, `bucket`, that takes any signature, after `refuse` has had its say. It has neither
/// multipart uploads nor anything in its listings.
pub fn tiny_s3(refuse: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> RawServer {
    let objects: Mutex<HashMap<String, Vec<u8>>> = Mutex::default();
    RawServer::start(move |asked| {
        if let Some(refused) = refuse(asked) {
            return refused;
        }
        // A proxy is asked by whole URLs.
        let target = asked
            .target
            .strip_prefix("http://")
            .unwrap_or(&asked.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut objects = objects.lock().expect("no panic under the lock");
        let xml = |body: &str| Answer::whole("200 OK\r\ncontent-type: application/xml", body);
        let missing = Answer::whole("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>");
        match asked.method.as_str() {
            "POST" if query.contains("delete") => xml("<DeleteResult/>"),
            "GET" if query.contains("list-type") => xml("<ListBucketResult/>"),
            "GET" if query.contains("uploads") => xml("<ListMultipartUploadsResult/>"),
            "POST" => Answer::whole("501 Not Implemented", ""),
            "PUT" => {
                objects.insert(path.to_owned(), asked.body.clone());
                Answer::whole("200 OK\r\netag: \"e\"", "")
            }
            "DELETE" => {
                objects.remove(path);
                Answer::whole("204 No Content", "")
            }
            // The bucket itself is always there.
            "HEAD" if path.trim_end_matches('/').ends_with("/bucket") => {
                Answer::whole("200 OK", "")
            }
            _ => match objects.get(path) {
                Some(body) => Answer::whole("200 OK\r\netag: \"e\"", body.clone()),
                None => missing,
            },
        }
    })
}

fn serve(
    mut stream: TcpStream,
    handler: &Handler,
    asked: &Mutex<Vec<Asked>>,
    sent: &AtomicU64,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let request = match read_request(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                // What is no HTTP (TLS, say) is answered in HTTP all the same.
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")?;
                return Err(error);
            }
        };
        let answer = handler(&request);
        let is_head = request.method == "HEAD";
        asked.lock().expect("no panic under the lock").push(request);
        match answer {
            Answer::Whole(head, body) => {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n"
                )?;
                if !is_head {
                    stream.write_all(&body)?;
                }
            }
            Answer::Endless(head, piece) => {
                write!(
                    stream,
                    "HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n"
                )?;
                let chunk = piece.repeat(1 + (64 << 10) / piece.len());
                while !ended.load(Ordering::Relaxed) {
                    write!(stream, "{:x}\r\n{chunk}\r\n", chunk.len())?;
                    sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
            }
            Answer::EndlessHeaders => {
                write!(stream, "HTTP/1.1 200 OK\r\n")?;
                let line = format!("x-more: {}\r\n", "x".repeat(4000));
                while !ended.load(Ordering::Relaxed) {
                    stream.write_all(line.as_bytes())?;
                    sent.fetch_add(line.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Asked>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" if lines.is_empty() => {}
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first = lines.remove(0);
    let mut words = first.split(' ').map(str::to_owned);
    let mut request = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        headers: lines,
        body: Vec::new(),
    };
    let length = request.headers.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok()).flatten()
    });
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}
