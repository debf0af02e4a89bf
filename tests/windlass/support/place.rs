//! A store that documents are in, or go to: each driver with a place of its own.

use std::path::PathBuf;

use md5::{Digest as _, Md5};

use super::checker::Checker;
use super::deployment::{Compression, Deployment, S3Spec, StoreSpec, SwiftSpec};
use super::program::Program;
use super::{s3, swift};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Db,
    Db2,
    LocalFs,
    S3,
    Swift,
}

pub struct Place {
    pub kind: Kind,
    /// Directory, bucket or container.
    pub name: String,
    pub prefix: &'static str,
}

impl Place {
    pub async fn fresh(kind: Kind, program: &Program, name: &str, prefix: &'static str) -> Self {
        let name = match kind {
            Kind::Db | Kind::Db2 => String::new(),
            Kind::LocalFs => {
                let dir = program.home().join(name);
                std::fs::create_dir(&dir).expect("a directory");
                dir.display().to_string()
            }
            Kind::S3 => s3::fresh_bucket().await,
            Kind::Swift => swift::fresh_container().await,
        };
        Self { kind, name, prefix }
    }

    pub async fn spec(&self, compression: Compression) -> StoreSpec {
        let prefix = Some(self.prefix.to_owned());
        match self.kind {
            Kind::Db => StoreSpec::Db { compression },
            Kind::Db2 => StoreSpec::Db2 { compression },
            Kind::LocalFs => StoreSpec::LocalFs {
                dir: PathBuf::from(&self.name),
                compression,
            },
            Kind::S3 => {
                let server = s3::server().await;
                StoreSpec::S3(S3Spec {
                    url: server.url.clone(),
                    access_key: server.access_key.clone(),
                    secret_key: server.secret_key.clone(),
                    bucket: self.name.clone(),
                    prefix,
                    compression,
                    ..S3Spec::default()
                })
            }
            Kind::Swift => StoreSpec::Swift(SwiftSpec {
                options: swift::tempauth_options(swift::USER).await,
                container: self.name.clone(),
                prefix,
                compression,
                ..SwiftSpec::default()
            }),
        }
    }

    /// As ANCHORE.md has it, and not as windlass makes it.
    pub fn url(&self, (user, bucket, id): (&str, &str, &str)) -> String {
        let (name, prefix) = (&self.name, self.prefix);
        match self.kind {
            Kind::Db => format!("db://{user}/{bucket}/{id}"),
            Kind::Db2 => format!("db2://{user}/{bucket}/{id}"),
            Kind::LocalFs => {
                let (user, id) = (hex::encode(Md5::digest(user)), hex::encode(Md5::digest(id)));
                format!("file://{name}/{user}/{bucket}/{}/{id}.json", &id[..2])
            }
            Kind::S3 => format!("s3://{name}/{prefix}{user}/{bucket}/{id}"),
            Kind::Swift => format!("swift://{name}/{prefix}{user}/{bucket}/{id}"),
        }
    }

    pub fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Db => "db",
            Kind::Db2 => "db2",
            Kind::LocalFs => "file",
            Kind::S3 => "s3",
            Kind::Swift => "swift",
        }
    }

    pub async fn seed(
        &self,
        deployment: &mut Deployment,
        key @ (user, bucket, id): (&str, &str, &str),
        content: &[u8],
    ) {
        let at = (self.name.as_str(), self.prefix);
        match self.kind {
            Kind::Db => deployment.add_db_document(user, bucket, id, content).await,
            Kind::Db2 => deployment.add_db2_document(user, bucket, id, content).await,
            Kind::LocalFs => {
                let dir = PathBuf::from(&self.name);
                deployment.add_localfs_document(&dir, key, content).await;
            }
            Kind::S3 => {
                let client = s3::server().await.client();
                deployment.add_s3_document(&client, at, key, content).await;
            }
            Kind::Swift => {
                let client = swift::server().await.client().await;
                deployment
                    .add_swift_document(&client, at, key, content)
                    .await;
            }
        }
    }

    pub async fn seen_by(&self, checker: Checker) -> Checker {
        match self.kind {
            Kind::Db | Kind::Db2 => checker,
            Kind::LocalFs => checker.local_dir(&PathBuf::from(&self.name)),
            Kind::S3 => checker.s3(s3::server().await.client(), &self.name, self.prefix),
            Kind::Swift => {
                let client = swift::server().await.client().await;
                checker.swift(client, &self.name, self.prefix)
            }
        }
    }
}
