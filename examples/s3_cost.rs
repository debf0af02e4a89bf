//! What a PUT and a GET through the s3 driver cost this process: CPU time per object, and the
//! number of objects per second that one core can carry at that price.
//!
//! `cargo run --release --example s3_cost -- URL ACCESS_KEY SECRET_KEY`

#[path = "../benches/lab/cpu.rs"]
mod cpu;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use md5::Digest as _;
use windlass::config::{
    Compression, DriverConfig, EndpointUrl, S3Auth, S3Config, Secret, StoreConfig,
};
use windlass::database::{ConnectOptions, Database, DatabaseUrl};
use windlass::driver::{self, Driver, Fence};
use windlass::model::ObjectKey;

const IN_FLIGHT: usize = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, access_key, secret_key] = args.as_slice() else {
        anyhow::bail!("usage: s3_cost URL ACCESS_KEY SECRET_KEY");
    };
    let dir = tempfile::tempdir()?;
    let place = DatabaseUrl::Sqlite {
        path: dir.path().join("unused.db"),
    };
    let options = ConnectOptions {
        create: true,
        ..ConnectOptions::default()
    };
    let database = Database::connect(&place, &options).await?;
    let store = StoreConfig {
        compression: Compression::default(),
        driver: DriverConfig::S3(S3Config {
            auth: S3Auth::Keys {
                access_key: Secret::new(access_key),
                secret_key: Secret::new(secret_key),
            },
            url: Some(EndpointUrl::new(url)),
            region: None,
            bucket: "windlass-cost".into(),
            create_bucket: true,
            prefix: String::new(),
            ca_bundle: None,
        }),
        notices: Vec::new(),
    };
    let s3 = driver::open(&store, &database, Fence::Open).await?;
    s3.prepare().await?;
    for (size_bytes, objects) in [(4 << 10, 8_000), (2 << 20, 400)] {
        let bytes: Vec<u8> = (0..size_bytes).map(|at| (at * 31 % 251) as u8).collect();
        let body = Bytes::from(bytes);
        let md5: [u8; 16] = md5::Md5::digest(&body).into();
        let put_body = body.clone();
        measure("PUT", size_bytes, objects, &s3, move |s3, url| {
            let body = put_body.clone();
            async move { Ok(s3.put(&url, body, md5).await.map(drop)?) }
        })
        .await?;
        measure("GET", size_bytes, objects, &s3, move |s3, url| async move {
            let reader = s3.get(&url, Some(size_bytes as u64)).await?;
            anyhow::ensure!(reader.bytes().await?.len() == size_bytes, "a short object");
            Ok(())
        })
        .await?;
        let urls: Vec<_> = (0..objects).map(|n| url_of(&*s3, n)).collect();
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        for deleted in s3.delete(&urls).await {
            deleted?;
        }
        report("DELETE", size_bytes, objects, wall, cpu)?;
    }
    Ok(())
}

fn url_of(s3: &dyn Driver, n: usize) -> String {
    s3.url_for(&ObjectKey::new("admin", "cost", format!("object-{n}")))
}

async fn measure<F>(
    what: &str,
    size_bytes: usize,
    objects: usize,
    s3: &Arc<dyn Driver>,
    run: impl Fn(Arc<dyn Driver>, String) -> F + Clone + Send + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let workers = (0..IN_FLIGHT).map(|_| {
        let (next, s3, run) = (next.clone(), s3.clone(), run.clone());
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= objects {
                    return anyhow::Ok(());
                }
                run(s3.clone(), url_of(&*s3, n)).await?;
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker??;
    }
    report(what, size_bytes, objects, wall, cpu)
}

fn report(
    what: &str,
    size_bytes: usize,
    objects: usize,
    wall: Instant,
    cpu: f64,
) -> anyhow::Result<()> {
    let wall = wall.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - cpu) / objects as f64;
    println!(
        "{what:6} {:>5} KiB x {objects:>5}: {:>8.1} µs of CPU each = {:>7.0} objects/s a core; \
         measured {:>6.0} objects/s",
        size_bytes >> 10,
        cpu * 1e6,
        1.0 / cpu.max(1e-9),
        objects as f64 / wall,
    );
    Ok(())
}

/// User and system time of all threads so far.
fn cpu_seconds() -> f64 {
    cpu::cpu_time("/proc/self/stat", 2).as_secs_f64()
}
