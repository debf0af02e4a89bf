//! Logging in, by the options and the rules of Anchore's own library, python-swiftclient.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::error;
use crate::config::{Secret, SwiftConfig};
use crate::driver::StoreErrorKind;
use crate::driver::error::Failure;

/// Where the account is, and what opens it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub storage_url: String,
    pub token: Secret,
}

/// How to log in. Its secrets print as stars.
#[derive(Debug, Clone)]
pub(super) struct Login {
    method: Method,
    /// Where the options name the account's URL, it beats the one that the login answers with.
    storage_url: Option<String>,
}

#[derive(Debug, Clone)]
enum Method {
    /// A token from the configuration, which cannot be renewed.
    Given(Secret),
    /// TempAuth and its like: one GET with two headers.
    V1 {
        url: String,
        user: Secret,
        key: Secret,
    },
    /// Keystone: a JSON document in, a catalog of services out.
    Keystone {
        url: String,
        body: Secret,
        is_v3: bool,
        catalog: Wanted,
    },
}

/// Which endpoint of the catalog is meant.
#[derive(Debug, Clone)]
struct Wanted {
    service: String,
    interface: String,
    region: Option<String>,
}

impl Login {
    /// Reads the options. Nothing is asked yet.
    pub(super) fn of(config: &SwiftConfig) -> Result<Self, Failure> {
        let first = |names: &[&str]| names.iter().find_map(|name| config.option(name));
        let storage_url = config.option("os_storage_url").map(base_url);
        if let (Some(token), Some(_)) = (config.option("os_auth_token"), &storage_url) {
            let method = Method::Given(Secret::new(token));
            return Ok(Self {
                method,
                storage_url,
            });
        }
        let url = first(&["auth", "os_auth_url"])
            .ok_or_else(|| missing("auth", "the URL of the auth server"))?;
        let method = match version(config)? {
            1 => Method::V1 {
                url: url.to_owned(),
                user: Secret::new(required(first(&["user", "os_username"]), "user")?),
                key: Secret::new(required(first(&["key", "os_password"]), "key")?),
            },
            version => Method::Keystone {
                url: keystone_url(url, version),
                body: Secret::new(match version {
                    2 => v2_body(config)?.to_string(),
                    _ => v3_body(config)?.to_string(),
                }),
                is_v3: version == 3,
                catalog: Wanted::of(config),
            },
        };
        Ok(Self {
            method,
            storage_url,
        })
    }

    /// Whether asking again can bring another token.
    pub(super) fn is_renewable(&self) -> bool {
        !matches!(self.method, Method::Given(_))
    }

    /// Asks for a token.
    pub(super) async fn log_in(&self, http: &Client) -> Result<Access, Failure> {
        let (token, found) = match &self.method {
            Method::Given(token) => (token.clone(), None),
            Method::V1 { url, user, key } => v1(http, url, user, key).await?,
            Method::Keystone {
                url,
                body,
                is_v3,
                catalog,
            } => keystone(http, url, body, *is_v3, catalog, self.storage_url.is_none()).await?,
        };
        let storage_url = self.storage_url.clone().or(found).ok_or_else(|| {
            misconfigured("the auth server answered without a storage URL: set os_storage_url")
        })?;
        Ok(Access { storage_url, token })
    }
}

/// 1, 2 or 3: as given, else guessed from the options that only Keystone has.
fn version(config: &SwiftConfig) -> Result<u8, Failure> {
    let given = ["auth_version", "os_identity_api_version"]
        .into_iter()
        .find_map(|name| config.option(name));
    let has = |names: &[&str]| names.iter().any(|name| config.option(name).is_some());
    let plain = ["auth", "user", "key"]
        .iter()
        .all(|name| config.option(name).is_some());
    let asked = match given.map(|given| given.trim_start_matches('v')) {
        None => 1,
        Some("1" | "1.0") => 1,
        Some("2" | "2.0") => 2,
        Some("3" | "3.0") => 3,
        Some(_) => return Err(misconfigured("auth_version must be 1, 2 or 3")),
    };
    if asked != 1 || plain {
        return Ok(asked);
    }
    Ok(
        match (
            has(&[
                "os_user_domain_id",
                "os_user_domain_name",
                "os_project_domain_id",
                "os_project_domain_name",
                "os_application_credential_id",
            ]),
            has(&["os_tenant_id", "os_tenant_name", "os_auth_url"]),
        ) {
            (true, _) => 3,
            (false, true) if given.is_none() => 2,
            _ => 1,
        },
    )
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Failure> {
    value.ok_or_else(|| missing(name, "who logs in"))
}

fn missing(name: &str, what: &str) -> Failure {
    misconfigured(&format!("option {name} is missing: {what}"))
}

fn misconfigured(message: &str) -> Failure {
    Failure::new(StoreErrorKind::Misconfigured, message)
}

fn base_url(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// The URL that tokens come from; the version is put in where the configuration leaves it out.
fn keystone_url(url: &str, version: u8) -> String {
    let url = base_url(url);
    let (suffix, path) = match version {
        2 => ("v2.0", "tokens"),
        _ => ("v3", "auth/tokens"),
    };
    match url.ends_with(suffix) {
        true => format!("{url}/{path}"),
        false => format!("{url}/{suffix}/{path}"),
    }
}

fn user_and_key(config: &SwiftConfig) -> Result<(Option<&str>, &str), Failure> {
    let first = |names: &[&str]| names.iter().find_map(|name| config.option(name));
    let key = required(first(&["key", "os_password"]), "os_password")?;
    Ok((first(&["user", "os_username"]), key))
}

fn v2_body(config: &SwiftConfig) -> Result<Value, Failure> {
    let (user, key) = user_and_key(config)?;
    let mut user = required(user, "os_username")?;
    let named = ["os_tenant_name", "os_project_name"]
        .into_iter()
        .find_map(|name| config.option(name));
    let id = ["os_tenant_id", "os_project_id"]
        .into_iter()
        .find_map(|name| config.option(name));
    let mut tenant = named;
    // swiftclient takes `tenant:user` too.
    if let (None, None, Some((of, name))) = (named, id, user.split_once(':')) {
        (tenant, user) = (Some(of), name);
    }
    let mut auth = json!({ "passwordCredentials": { "username": user, "password": key } });
    match (id, tenant) {
        (Some(id), _) => auth["tenantId"] = json!(id),
        (None, Some(tenant)) => auth["tenantName"] = json!(tenant),
        (None, None) => {
            return Err(missing(
                "os_tenant_name",
                "the project that the container is in",
            ));
        }
    }
    Ok(json!({ "auth": auth }))
}

fn v3_body(config: &SwiftConfig) -> Result<Value, Failure> {
    if let Some(id) = config.option("os_application_credential_id") {
        let secret = config.option("os_application_credential_secret");
        let secret = required(secret, "os_application_credential_secret")?;
        return Ok(json!({ "auth": { "identity": {
            "methods": ["application_credential"],
            "application_credential": { "id": id, "secret": secret },
        }}}));
    }
    let (name, key) = user_and_key(config)?;
    let mut user = json!({ "password": key });
    match config.option("os_user_id") {
        Some(id) => user["id"] = json!(id),
        None => {
            user["name"] = json!(required(name, "os_username")?);
            user["domain"] = domain(config, "os_user_domain_id", "os_user_domain_name");
        }
    }
    let either = |one, other| config.option(one).or_else(|| config.option(other));
    let id = either("os_project_id", "os_tenant_id");
    let named = either("os_project_name", "os_tenant_name");
    let project = match (id, named) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(name)) => json!({
            "name": name,
            "domain": domain(config, "os_project_domain_id", "os_project_domain_name"),
        }),
        (None, None) => {
            return Err(missing(
                "os_project_name",
                "the project that the container is in",
            ));
        }
    };
    Ok(json!({ "auth": {
        "identity": { "methods": ["password"], "password": { "user": user } },
        "scope": { "project": project },
    }}))
}

/// A name needs a domain; every Keystone has one with the id `default`.
fn domain(config: &SwiftConfig, id: &str, name: &str) -> Value {
    match (config.option(id), config.option(name)) {
        (Some(id), _) => json!({ "id": id }),
        (None, Some(name)) => json!({ "name": name }),
        (None, None) => json!({ "id": "default" }),
    }
}

type Found = (Secret, Option<String>);

async fn v1(http: &Client, url: &str, user: &Secret, key: &Secret) -> Result<Found, Failure> {
    let request = http
        .get(url)
        .header("x-auth-user", user.expose())
        .header("x-auth-key", key.expose());
    let response = request.send().await.map_err(error::not_answered)?;
    let status = response.status();
    if !status.is_success() {
        return Err(login_refused(status));
    }
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let token = header("x-auth-token")
        .or_else(|| header("x-storage-token"))
        .ok_or_else(|| misconfigured("the auth server answered without a token: check auth"))?;
    let found = header("x-storage-url").map(|url| base_url(&url));
    Ok((Secret::new(token), found))
}

async fn keystone(
    http: &Client,
    url: &str,
    body: &Secret,
    is_v3: bool,
    wanted: &Wanted,
    must_find: bool,
) -> Result<Found, Failure> {
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(body.expose().to_owned());
    let response = request.send().await.map_err(error::not_answered)?;
    let status = response.status();
    if !status.is_success() {
        return Err(login_refused(status));
    }
    let subject = response.headers().get("x-subject-token");
    let subject = subject.and_then(|token| token.to_str().ok().map(str::to_owned));
    let body = error::whole_body(response).await?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|_| misconfigured("the auth server's answer is no JSON: check os_auth_url"))?;
    let (token, found) = match is_v3 {
        true => (subject, wanted.in_v3(&body)),
        false => {
            let token = body["access"]["token"]["id"].as_str();
            (token.map(str::to_owned), wanted.in_v2(&body))
        }
    };
    let token = token.ok_or_else(|| misconfigured("the auth server answered without a token"))?;
    match (&found, must_find) {
        (None, true) => Err(misconfigured(&format!(
            "the auth server's catalog has no {} service with a {} endpoint{}: check the project, \
             os_endpoint_type and os_region_name, or set os_storage_url",
            wanted.service,
            wanted.interface,
            match &wanted.region {
                Some(region) => format!(" in region {region:?}"),
                None => String::new(),
            }
        ))),
        _ => Ok((Secret::new(token), found)),
    }
}

fn login_refused(status: StatusCode) -> Failure {
    let failure = error::answered(status, "");
    match failure.kind {
        // To a login all of these say no.
        StoreErrorKind::Denied => error::answered(StatusCode::UNAUTHORIZED, ""),
        StoreErrorKind::NotFound | StoreErrorKind::Unsupported => misconfigured(&format!(
            "the auth server does not take the login (HTTP {}): check the auth URL and auth_version",
            status.as_u16()
        )),
        _ => failure,
    }
}

impl Wanted {
    fn of(config: &SwiftConfig) -> Self {
        let option = |name, default: &str| config.option(name).unwrap_or(default).to_owned();
        let interface = option("os_endpoint_type", "publicURL");
        Self {
            service: option("os_service_type", "object-store"),
            interface: interface.trim_end_matches("URL").to_owned(),
            region: config.option("os_region_name").map(str::to_owned),
        }
    }

    fn is_region(&self, endpoint: &Value) -> bool {
        let is = |name: &str| endpoint[name].as_str() == self.region.as_deref();
        self.region.is_none() || is("region") || is("region_id")
    }

    fn in_v2(&self, body: &Value) -> Option<String> {
        let key = format!("{}URL", self.interface);
        let services = body["access"]["serviceCatalog"].as_array()?;
        let mut endpoints = endpoints(services, &self.service);
        let found = endpoints.find(|endpoint| self.is_region(endpoint))?;
        found[&*key].as_str().map(base_url)
    }

    fn in_v3(&self, body: &Value) -> Option<String> {
        let services = body["token"]["catalog"].as_array()?;
        let mut endpoints = endpoints(services, &self.service);
        let found = endpoints.find(|endpoint| {
            endpoint["interface"].as_str() == Some(&self.interface) && self.is_region(endpoint)
        })?;
        found["url"].as_str().map(base_url)
    }
}

fn endpoints<'a>(services: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    services
        .iter()
        .filter(move |service| service["type"].as_str() == Some(kind))
        .filter_map(|service| service["endpoints"].as_array())
        .flatten()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
