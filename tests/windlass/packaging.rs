//! What goes out beside the program, as far as it can be looked at without a release build.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use windlass::config::{ConfigFile, Section};

use crate::support::program::{Program, executable};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|item| item.as_str().expect("a word"))
        .collect()
}

/// What cargo makes of the manifest.
fn package() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output();
    let output = output.expect("cargo").stdout;
    let metadata: Value = serde_json::from_slice(&output).expect("cargo's metadata");
    metadata["packages"][0].clone()
}

#[test]
fn the_debian_package_is_made_of_what_there_is() {
    let package = package();
    assert_eq!(
        package["publish"],
        serde_json::json!([]),
        "it is not published by accident"
    );
    let deb = &package["metadata"]["deb"];
    let dist = read("scripts/dist");
    let mut installed = Vec::new();
    for asset in deb["assets"].as_array().expect("assets") {
        let [from, to, mode] = strings(asset)[..] else {
            panic!("{asset}");
        };
        match from.strip_prefix("target/package/") {
            // scripts/dist and scripts/package make these.
            Some(made) => {
                let made = made.split(['/', '.']).next().expect("a name");
                assert!(dist.contains(made), "scripts/dist makes no {from}");
            }
            None => assert!(!expanded(from).is_empty(), "no {from}"),
        }
        assert!(matches!(mode, "755" | "644" | "640"), "{asset}");
        installed.push(format!("/{to}"));
    }
    for path in [
        "/usr/bin/windlass",
        "/usr/share/man/man1/",
        "/etc/default/windlass",
    ] {
        assert!(installed.iter().any(|to| to == path), "{path}");
    }
    for kept in strings(&deb["conf-files"]) {
        assert!(installed.iter().any(|to| to == kept), "{kept}");
    }
    // The glibc that the program is linked against, and not the one of whoever made the package.
    let build = read("scripts/package");
    let glibc = build
        .lines()
        .find_map(|line| line.strip_prefix("glibc="))
        .expect("a version");
    let depends = deb["depends"].as_str().expect("a list");
    assert!(
        depends.contains(&format!("libc6 (>= {glibc})")),
        "{depends}"
    );
    let scripts = deb["maintainer-scripts"].as_str().expect("a directory");
    assert!(root().join(scripts).join("postinst").exists());
}

/// The names of the files that an asset of the Debian package stands for.
fn expanded(from: &str) -> Vec<String> {
    let (dir, name) = from.rsplit_once('/').unwrap_or((".", from));
    let (begins, ends) = name.split_once('*').unwrap_or((name, ""));
    let ends = ends.trim_matches('*');
    let fits = |found: &String| match name.contains('*') {
        true => found.starts_with(begins) && found.contains(ends),
        false => found == name,
    };
    let files = std::fs::read_dir(root().join(dir)).expect("a directory");
    let files = files.map(|file| file.expect("readable"));
    let files = files.filter(|file| file.path().is_file());
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(fits).collect()
}

fn registry_package() -> String {
    let listed = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo");
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

/// In the registry's package, in the Debian one and in the archive.
#[test]
fn the_pages_that_the_readme_leads_to_go_out_with_it() {
    let readme = read("README.md");
    let links = readme.split("](").skip(1);
    let links = links.map(|link| link.split([')', '#']).next().expect("an end"));
    let links: Vec<&str> = links.filter(|link| !link.contains("://")).collect();
    assert!(links.len() > 15, "{links:?}");
    let is_among = |files: &[String], link: &str| {
        let below = format!("{link}/");
        files
            .iter()
            .any(|file| file == link || file.starts_with(&below))
    };
    let registry: Vec<String> = registry_package().lines().map(str::to_owned).collect();
    let package = package();
    let assets = package["metadata"]["deb"]["assets"]
        .as_array()
        .expect("assets");
    let debian = assets.iter().flat_map(|asset| {
        let [from, to, _] = strings(asset)[..] else {
            panic!("{asset}");
        };
        let to = to.strip_prefix("usr/share/doc/windlass/");
        let files = to.map(|to| {
            expanded(from)
                .into_iter()
                .map(move |file| format!("{to}{file}"))
        });
        files.into_iter().flatten().collect::<Vec<_>>()
    });
    let debian: Vec<String> = debian.collect();
    let dist = read("scripts/dist");
    let copied = dist.split("\ncp -r ").nth(1).expect("what is copied");
    let copied = copied.split("\"$to/$name/\"").next().expect("an end");
    let archive: Vec<&str> = copied.split_whitespace().collect();
    for link in links {
        assert!(
            is_among(&registry, link),
            "{link} is not in the registry's package"
        );
        // There it is called copyright.
        let is_licence = link == "LICENSE";
        assert!(
            is_licence || is_among(&debian, link),
            "{link} is not in {debian:?}"
        );
        let top = link.split('/').next().expect("a name");
        assert!(
            archive.contains(&top),
            "scripts/dist leaves {top} out of the archive"
        );
    }
}

#[test]
fn a_package_for_the_registry_has_all_that_it_is_built_from() {
    let listed = registry_package();
    let has = |path: &str| listed.lines().any(|line| line == path);
    for path in [
        "src/main.rs",
        "Cargo.lock",
        "README.md",
        "LICENSE",
        "docs/errors.md",
    ] {
        assert!(has(path), "{path} is not in the package:\n{listed}");
    }
    let migrations = listed
        .lines()
        .filter(|line| line.starts_with("migrations/"));
    assert!(migrations.count() > 2, "{listed}");
    assert!(!listed.contains("tests/windlass"), "tests want servers");
    let read_in = read_in_by_the_program();
    assert!(read_in.len() > 20, "{read_in:?}");
    for path in read_in {
        assert!(has(&path), "{path} is not in the package:\n{listed}");
    }
}

/// Each file that `include_str!` takes into the program itself, from the root on.
fn read_in_by_the_program() -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.to_string_lossy();
            if !name.ends_with(".rs") || name.ends_with("tests.rs") {
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("source");
            let program = source.split("#[cfg(test)]").next().expect("a beginning");
            let named = program.split("include_str!(\"").skip(1);
            for named in named.filter_map(|rest| rest.split('"').next()) {
                let file = directory.join(named).canonicalize().expect(named);
                let file = file.strip_prefix(root().canonicalize().expect("the root"));
                found.push(file.expect("within it").display().to_string());
            }
        }
    }
    found
}

fn units() -> Vec<(PathBuf, String)> {
    let units = [
        "deploy/systemd/windlass-migrate.service",
        "deploy/systemd/windlass-resume@.service",
        "deploy/workers/windlass-worker@.service",
    ];
    let path = |unit| root().join(unit);
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).expect("a unit"));
    units.map(path).map(read).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_type_commands_that_there_are() {
    let program = Program::new();
    for (path, text) in units() {
        let value = |key: &str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("{} has no {key}", path.display()))
        };
        let typed = value("ExecStart")
            .strip_prefix("/usr/bin/windlass ")
            .expect("windlass");
        let mut args: Vec<&str> = typed.split_whitespace().collect();
        args.push("--help");
        program.run(&args).await.expect_code(0);
        assert_eq!(value("SuccessExitStatus"), "130");
        assert_eq!(value("RestartPreventExitStatus"), "2 3 5");
        assert_eq!(value("EnvironmentFile"), "/etc/default/windlass");
    }
    // What the file of variables offers is an option.
    let help = program
        .run(&["migrate", "--help"])
        .await
        .expect_code(0)
        .stdout;
    let variables = read("deploy/systemd/windlass.default");
    let mut named = 0;
    for line in variables.lines() {
        let name = line
            .trim_start_matches('#')
            .split('=')
            .next()
            .unwrap_or_default();
        if name.starts_with("WINDLASS_") && line.contains('=') {
            assert!(help.contains(name), "no {name} in the help");
            named += 1;
        }
    }
    assert!(named >= 5, "only {named}");
}

/// Where systemd is at hand, it has nothing to say against them.
#[test]
fn systemd_understands_the_units() {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, text) in units() {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .replace('@', "@7");
        let copy = dir.path().join(name);
        let here = executable().display().to_string();
        let text = text.replace("/usr/bin/windlass", &here);
        std::fs::write(&copy, text).expect("written");
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&copy)
            .output();
        let Ok(said) = verified else {
            return;
        };
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // Other units of this machine are its own concern.
        let ours = said.lines().filter(|line| line.contains("windlass-"));
        assert_eq!(ours.collect::<Vec<_>>(), Vec::<&str>::new());
    }
}

#[test]
fn the_scripts_parse() {
    let scripts = [
        ("bash", "scripts/servers.sh"),
        ("bash", "scripts/shipped.sh"),
        ("bash", "scripts/package"),
        ("bash", "scripts/dist"),
        ("bash", "scripts/image-root"),
        ("bash", "scripts/try-deb"),
        ("bash", "scripts/try-image"),
        ("sh", "deploy/deb/postinst"),
    ];
    for (shell, script) in scripts {
        let parsed = Command::new(shell)
            .arg("-n")
            .arg(root().join(script))
            .output();
        let parsed = parsed.expect("a shell");
        assert!(
            parsed.status.success(),
            "{}",
            String::from_utf8_lossy(&parsed.stderr)
        );
        let checked = Command::new("shellcheck")
            .args(["--external-sources", script])
            .current_dir(root())
            .output();
        if let Ok(checked) = checked {
            assert!(
                checked.status.success(),
                "{}",
                String::from_utf8_lossy(&checked.stdout)
            );
        }
    }
    for script in ["package", "dist", "image-root", "try-deb", "try-image"] {
        let refused = Command::new(root().join("scripts").join(script))
            .arg("--nonsense")
            .output();
        let refused = refused.expect(script);
        assert_eq!(refused.status.code(), Some(2), "{script}");
        let usage = format!("usage: scripts/{script}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(&usage));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_page_follows_the_guide() {
    let compose = yaml("deploy/compose/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["postgres", "s3", "windlass"]);
    let here = root().join("deploy/compose");
    let mut mounted = 0;
    for service in services.values() {
        assert!(
            service.get("ports").is_none(),
            "nothing is to be reached from outside"
        );
        let volumes = service["volumes"].as_array().expect("volumes");
        for volume in volumes.iter().filter_map(Value::as_str) {
            let from = volume.split(':').next().expect("a place");
            if from.starts_with('.') {
                assert!(here.join(from).exists(), "no {from}");
                mounted += 1;
            }
        }
    }
    assert_eq!(mounted, 4);
    let identities: Value =
        serde_json::from_str(&read("deploy/compose/config/s3.json")).expect("JSON");
    assert_eq!(
        identities["identities"][0]["credentials"][0]["accessKey"],
        "windlass"
    );
    for (file, driver) in [("config.yaml", "db"), ("config-new.yaml", "s3")] {
        let config = ConfigFile::load(&here.join("config").join(file), &|_| None).expect(file);
        let store = config.store(Section::ObjectStore).expect("a store");
        assert_eq!(store.driver.name(), driver);
        assert!(store.notices.is_empty(), "{:?}", store.notices);
    }
    let (program, page) = (Program::new(), read("deploy/compose/README.md"));
    let mut typed = 0;
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("docker compose run --rm windlass "));
    for line in lines {
        let args: Vec<&str> = line.split_whitespace().chain(["--help"]).collect();
        program.run(&args).await.expect_code(0);
        typed += 1;
    }
    assert!(typed >= 8, "only {typed}");
}

#[test]
fn the_image_is_built_by_the_rust_that_the_manifest_asks_for() {
    let container = read("Containerfile");
    let rust = package()["rust_version"]
        .as_str()
        .expect("a version")
        .to_owned();
    assert!(container.contains(&format!("rust:{rust}-slim")), "{rust}");
    for line in [
        "FROM scratch",
        // By number: Kubernetes's runAsNonRoot can't look up names.
        "USER 10001:10001",
        "ENTRYPOINT [\"/usr/bin/windlass\"]",
        "VOLUME /var/lib/windlass",
    ] {
        assert!(container.lines().any(|l| l == line), "{line}");
    }
    assert_eq!(read(".dockerignore"), read(".containerignore"));
}

/// Of any program; that windlass runs in it is for `scripts/try-image` to say, which wants root.
#[test]
fn the_image_holds_what_its_program_is_linked_to_and_no_shell() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = std::fs::canonicalize("/usr/bin/env").expect("a program");
    let made = Command::new(root().join("scripts/image-root"))
        .args([&program, dir.path()])
        .output()
        .expect("scripts/image-root");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let image = dir.path().join("root");
    let linked = Command::new("ldd").arg(&program).output().expect("ldd");
    let linked = String::from_utf8(linked.stdout).expect("UTF-8");
    let words = linked.split_whitespace();
    let libraries: Vec<_> = words.filter_map(|word| word.strip_prefix('/')).collect();
    assert!(
        libraries.iter().any(|path| path.contains("ld-")),
        "{linked}"
    );
    assert!(
        libraries.iter().any(|path| path.contains("libc.so")),
        "{linked}"
    );
    for path in libraries {
        let in_it = image.join(path);
        assert!(in_it.is_file() && !in_it.is_symlink(), "no {path}");
    }
    for path in [
        "etc/ssl/certs/ca-certificates.crt",
        "etc/nsswitch.conf",
        "usr/bin/windlass",
    ] {
        let text = std::fs::read(image.join(path)).expect(path);
        assert!(!text.is_empty(), "{path}");
    }
    assert!(!image.join("bin/sh").exists() && !image.join("usr/bin/sh").exists());
    let mode = |path: PathBuf| path.metadata().expect("a directory").permissions().mode() & 0o7777;
    assert_eq!(mode(image.join("tmp")), 0o1777);
    assert_eq!(mode(dir.path().join("state/windlass")), 0o700);
    let passwd = std::fs::read_to_string(image.join("etc/passwd")).expect("passwd");
    assert!(passwd.contains("\nwindlass:x:10001:10001:"), "{passwd}");
}

#[test]
fn the_dashboard_and_the_rules_have_their_shape() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 8);
    let mut ids = std::collections::BTreeSet::new();
    for panel in panels {
        assert!(
            ids.insert(panel["id"].as_u64()),
            "two panels have one id: {panel}"
        );
        for key in ["title", "type"] {
            assert!(
                panel[key].as_str().is_some_and(|text| !text.is_empty()),
                "{panel}"
            );
        }
        let place = &panel["gridPos"];
        let end = place["x"]
            .as_u64()
            .zip(place["w"].as_u64())
            .map(|(x, w)| x + w);
        assert!(end.is_some_and(|end| end <= 24), "{place}");
        for target in panel["targets"].as_array().expect("targets") {
            assert!(
                target["expr"]
                    .as_str()
                    .is_some_and(|expr| expr.contains("windlass_"))
            );
        }
    }
    let rules = yaml("deploy/monitoring/alerts.yaml");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 3);
    for rule in rules {
        for key in ["alert", "expr", "for"] {
            assert!(rule[key].is_string(), "{rule}");
        }
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].is_string(), "{rule}");
        }
    }
    let promtool = Command::new("promtool")
        .args(["check", "rules", "deploy/monitoring/alerts.yaml"])
        .current_dir(root())
        .output();
    if let Ok(said) = promtool {
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
}
