//! Which login the options make.

use super::*;

fn config(options: &[(&str, &str)]) -> SwiftConfig {
    let options = options.iter();
    SwiftConfig {
        container: "c".into(),
        create_container: false,
        anchore_key_prefix: String::new(),
        options: options
            .map(|(name, value)| (name.to_string(), Secret::new(*value)))
            .collect(),
    }
}

#[test]
fn the_version_is_given_or_guessed_as_swiftclient_does() {
    for (options, wanted) in [
        (&[("auth", "u"), ("user", "a:b"), ("key", "k")][..], 1),
        (&[("auth_version", "3")], 3),
        (&[("auth_version", "3.0")], 3),
        (&[("auth_version", "2")], 2),
        (&[("os_auth_url", "u"), ("os_tenant_name", "t")], 2),
        (&[("os_auth_url", "u"), ("os_user_domain_name", "d")], 3),
        (
            &[
                ("auth", "u"),
                ("user", "a"),
                ("key", "k"),
                ("auth_version", "2.0"),
            ],
            2,
        ),
    ] {
        assert_eq!(version(&config(options)).unwrap(), wanted, "{options:?}");
    }
    assert!(version(&config(&[("auth_version", "4")])).is_err());
}

#[test]
fn keystone_urls_get_their_version() {
    for (url, version, wanted) in [
        ("http://k:5000/v3/", 3, "http://k:5000/v3/auth/tokens"),
        ("http://k:5000", 3, "http://k:5000/v3/auth/tokens"),
        ("http://k/identity/v2.0", 2, "http://k/identity/v2.0/tokens"),
        ("http://k/identity/", 2, "http://k/identity/v2.0/tokens"),
    ] {
        assert_eq!(keystone_url(url, version), wanted);
    }
}

#[test]
fn a_v3_login_names_domains() {
    let body = v3_body(&config(&[
        ("os_username", "u"),
        ("os_password", "p"),
        ("os_project_name", "q"),
        ("os_project_domain_name", "d"),
    ]))
    .unwrap();
    let user = &body["auth"]["identity"]["password"]["user"];
    assert_eq!(user["domain"], json!({"id": "default"}));
    let project = &body["auth"]["scope"]["project"];
    assert_eq!(*project, json!({"name": "q", "domain": {"name": "d"}}));
}

#[test]
fn endpoints_are_found_by_type_interface_and_region() {
    let wanted = Wanted {
        service: "object-store".into(),
        interface: "internal".into(),
        region: Some("two".into()),
    };
    let v3 = json!({ "token": { "catalog": [
        { "type": "image", "endpoints": [
            { "interface": "internal", "region": "two", "url": "http://wrong" }] },
        { "type": "object-store", "endpoints": [
            { "interface": "internal", "region": "one", "url": "http://one" },
            { "interface": "public", "region": "two", "url": "http://public" },
            { "interface": "internal", "region_id": "two", "url": "http://two/" }] },
    ]}});
    assert_eq!(wanted.in_v3(&v3).as_deref(), Some("http://two"));
    let v2 = json!({ "access": { "serviceCatalog": [{ "type": "object-store", "endpoints": [
        { "region": "one", "internalURL": "http://one" },
        { "region": "two", "internalURL": "http://two", "publicURL": "http://public" },
    ]}]}});
    assert_eq!(wanted.in_v2(&v2).as_deref(), Some("http://two"));
}

#[test]
fn no_secret_prints() {
    let login = Login::of(&config(&[
        ("auth_version", "3"),
        ("os_auth_url", "http://k/v3"),
        ("os_username", "u"),
        ("os_password", "hunter2"),
        ("os_project_name", "q"),
    ]))
    .unwrap();
    let printed = format!("{login:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_v2_login_takes_user_key_and_tenant_by_each_of_their_names() {
    let who = json!({ "username": "u", "password": "p" });
    for (options, tenant) in [
        (
            &[
                ("os_username", "u"),
                ("os_password", "p"),
                ("os_tenant_name", "t"),
            ][..],
            ("tenantName", "t"),
        ),
        (
            &[("user", "u"), ("key", "p"), ("os_project_name", "t")],
            ("tenantName", "t"),
        ),
        (
            &[("user", "u"), ("key", "p"), ("os_tenant_id", "7")],
            ("tenantId", "7"),
        ),
        (
            &[("user", "u"), ("key", "p"), ("os_project_id", "7")],
            ("tenantId", "7"),
        ),
        (&[("user", "t:u"), ("key", "p")], ("tenantName", "t")),
    ] {
        let body = v2_body(&config(options)).unwrap();
        assert_eq!(body["auth"]["passwordCredentials"], who, "{options:?}");
        assert_eq!(body["auth"][tenant.0], tenant.1, "{options:?}");
    }
    let nowhere = v2_body(&config(&[("user", "u"), ("key", "p")])).unwrap_err();
    assert!(nowhere.message.contains("os_tenant_name"), "{nowhere:?}");
}

#[test]
fn a_v3_login_takes_user_and_project_by_each_of_their_names() {
    let named = json!({ "name": "q", "domain": { "id": "default" } });
    let by_id = json!({ "id": "7" });
    for (option, project) in [
        ("os_project_name", &named),
        ("os_tenant_name", &named),
        ("os_project_id", &by_id),
        ("os_tenant_id", &by_id),
    ] {
        let value = if *project == named { "q" } else { "7" };
        let options = [("user", "u"), ("key", "p"), (option, value)];
        let body = v3_body(&config(&options)).unwrap();
        assert_eq!(body["auth"]["scope"]["project"], *project, "{option}");
    }
    for (options, user) in [
        (
            &[("os_user_id", "8")][..],
            json!({ "id": "8", "password": "p" }),
        ),
        (
            &[("os_username", "u"), ("os_user_domain_id", "d")],
            json!({ "name": "u", "password": "p", "domain": { "id": "d" } }),
        ),
        (
            &[("os_username", "u"), ("os_user_domain_name", "d")],
            json!({ "name": "u", "password": "p", "domain": { "name": "d" } }),
        ),
    ] {
        let whole = [options, &[("os_password", "p"), ("os_project_id", "7")]].concat();
        let body = v3_body(&config(&whole)).unwrap();
        let said = &body["auth"]["identity"]["password"]["user"];
        assert_eq!(*said, user, "{options:?}");
    }
}

#[test]
fn an_application_credential_names_neither_user_nor_project() {
    let options = [
        ("os_application_credential_id", "9"),
        ("os_application_credential_secret", "s"),
    ];
    let body = v3_body(&config(&options)).unwrap();
    let identity = json!({
        "methods": ["application_credential"],
        "application_credential": { "id": "9", "secret": "s" },
    });
    assert_eq!(body, json!({ "auth": { "identity": identity } }));
    let alone = v3_body(&config(&options[..1])).unwrap_err();
    assert!(alone.message.contains("credential_secret"), "{alone:?}");
}

#[test]
fn the_wanted_endpoint_is_read_from_the_options() {
    let wanted = Wanted::of(&config(&[]));
    assert_eq!(
        (wanted.service.as_str(), wanted.interface.as_str()),
        ("object-store", "public")
    );
    let wanted = Wanted::of(&config(&[
        ("os_service_type", "archive"),
        ("os_endpoint_type", "internalURL"),
        ("os_region_name", "two"),
    ]));
    assert_eq!(
        (wanted.service.as_str(), wanted.interface.as_str()),
        ("archive", "internal")
    );
    assert_eq!(wanted.region.as_deref(), Some("two"));
}

#[test]
fn a_token_is_taken_only_with_the_url_of_its_account() {
    let given = [("os_auth_token", "t"), ("os_storage_url", "http://s/v1/a/")];
    let login = Login::of(&config(&given)).unwrap();
    assert!(!login.is_renewable());
    assert_eq!(login.storage_url.as_deref(), Some("http://s/v1/a"));
    let alone = Login::of(&config(&given[..1])).unwrap_err();
    assert!(alone.message.contains("auth"), "{alone:?}");
}
