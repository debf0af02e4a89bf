//! What a request asks of the store, and how it is counted once the store has done it.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request};

use super::super::percent_decode;
use super::{Counts, Cut};

/// A request, read to its end.
pub struct Asked {
    pub head: hyper::http::request::Parts,
    pub body: Bytes,
    /// `bucket/key`, decoded; None for the service, a bucket, or a listing.
    pub object: Option<String>,
}

impl Asked {
    pub async fn of(request: Request<Incoming>) -> Result<Self, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let path = percent_decode(head.uri.path().trim_start_matches('/'));
        let object = path
            .split_once('/')
            .filter(|(_, key)| !key.is_empty())
            .map(|(bucket, key)| format!("{bucket}/{key}"));
        Ok(Self { head, body, object })
    }

    fn has_query(&self, name: &str) -> bool {
        let query = self.head.uri.query().unwrap_or_default();
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    }

    pub fn is_object_read(&self) -> bool {
        self.head.method == Method::GET && self.object.is_some() && !self.has_query("uploadId")
    }

    pub fn count(&self, counts: &mut Counts, answer: &Bytes) {
        let bump = |map: &mut HashMap<String, u64>, key: &str| {
            *map.entry(key.to_owned()).or_default() += 1;
        };
        let Some(object) = &self.object else {
            if self.head.method == Method::POST && self.has_query("delete") {
                counts.multi_deletes += 1;
                let bucket = self.head.uri.path().trim_matches('/');
                // What could not be deleted stands in the answer, under status 200.
                let errors = String::from_utf8_lossy(answer);
                let refused: Vec<String> = errors
                    .split("<Error>")
                    .skip(1)
                    .flat_map(|error| keys_in(error).into_iter().take(1))
                    .collect();
                let asked = String::from_utf8_lossy(&self.body);
                for key in keys_in(&asked).iter().filter(|key| !refused.contains(key)) {
                    bump(&mut counts.deletes, &format!("{bucket}/{key}"));
                }
            } else if self.head.method == Method::GET {
                counts.lists += 1;
            }
            return;
        };
        let part_of_upload = self.has_query("uploadId");
        match self.head.method {
            Method::PUT if part_of_upload => bump(&mut counts.parts, object),
            Method::PUT => bump(&mut counts.puts, object),
            // A completion may fail under status 200, with the error in the body.
            Method::POST if part_of_upload && !contains(answer, b"<Error>") => {
                bump(&mut counts.puts, object);
            }
            Method::GET if self.is_object_read() => bump(&mut counts.gets, object),
            Method::HEAD => bump(&mut counts.heads, object),
            Method::DELETE if !part_of_upload => bump(&mut counts.deletes, object),
            _ => {}
        }
    }
}

/// The keys in a multi-object delete's XML.
fn keys_in(text: &str) -> Vec<String> {
    let unescape = |key: &str| {
        key.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&")
    };
    text.split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</Key>"))
        .map(|(key, _)| unescape(key))
        .collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
