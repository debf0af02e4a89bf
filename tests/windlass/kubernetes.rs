//! A pod: no disk, no name, no home, the first process of its container; and the Job that makes one.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_yaml::Value;

use crate::support::counting_proxy::Fault;
use crate::support::program::Program;
use crate::support::small_disk::wrapper;
use crate::world::{seeded, until};

/// Whether this may be run here, as root or as root of a namespace of its own.
fn may(args: &[&str]) -> bool {
    let tried = Command::new(args[0]).args(&args[1..]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// A program that runs windlass as a container would: the root read-only, a uid that has no name,
/// no HOME, and an empty directory that is gone with the process. None where that is not permitted.
fn as_in_a_pod(home: &Path) -> Option<PathBuf> {
    let enter = "mount -t tmpfs -o mode=0777 none /mnt && mount -o remount,bind,ro /";
    let leave = "setpriv --reuid 51234 --regid 51234 --clear-groups";
    let tried = format!("{enter} && {leave} true");
    if !may(&["unshare", "-m", "sh", "-c", &tried]) {
        return None;
    }
    let script = format!(
        "test -n \"$INSIDE\" || exec env INSIDE=1 unshare -m \"$0\" \"$@\"\n\
         {enter} && exec {leave} env -u HOME -u XDG_STATE_HOME \
         WINDLASS_STATE_DIR=/mnt/windlass @windlass@ \"$@\""
    );
    Some(wrapper(&home.join("pod"), &script))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_disk_a_name_or_a_home_the_same_command_goes_on() {
    const DOCUMENTS: usize = 60;
    let mut world = seeded(DOCUMENTS).await;
    let Some(pod) = as_in_a_pod(world.program.home()) else {
        eprintln!("NOT TRIED: `unshare -m` may not mount here, or there is no `setpriv`");
        return;
    };
    fs::set_permissions(world.program.home(), Permissions::from_mode(0o755)).expect("it is ours");
    world.program.set_executable(pod);
    world
        .proxy
        .set_fault(Fault::Stall(Duration::from_millis(20)));
    let command = [
        world.migrate_args(),
        vec!["--concurrency".into(), "4".into()],
    ]
    .concat();
    for moved in [10, 25] {
        let mut running = world.program.spawn_exactly(&command, "");
        until("rows have moved", async || {
            assert!(!running.has_ended(), "{}", running.stderr());
            world.has_task().await && world.moved().await > moved
        })
        .await;
        match moved {
            10 => running.kill(),
            _ => running.terminate(),
        }
        let ended = running.wait().await;
        assert!(matches!(ended.code, None | Some(130)), "{ended:?}");
        world.expect_every_row_whole().await;
    }
    world.proxy.set_fault(Fault::None);
    let done = world.program.spawn_exactly(&command, "").wait().await;
    let done = done.expect_code(0);
    assert!(
        done.stderr.contains("is this very migration"),
        "{}",
        done.stderr
    );
    world.look().await.expect_all_at("s3", DOCUMENTS);
    assert_eq!(world.count("SELECT count(*) FROM windlass_tasks").await, 1);
}

/// The kernel takes nothing that it does not handle to the first process of a namespace.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_of_a_container_ends_when_it_is_asked_to() {
    let namespace = ["unshare", "--pid", "--fork", "--kill-child"];
    if !may(&[&namespace[..], &["true"]].concat()) {
        eprintln!("NOT TRIED: `unshare --pid` is not permitted here");
        return;
    }
    // A database that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "postgresql://u@{}/d",
        silent.local_addr().expect("its address")
    );
    let mut program = Program::new();
    let script = format!("exec {} @windlass@ \"$@\"", namespace.join(" "));
    let first = wrapper(&program.home().join("first"), &script);
    program.set_executable(first);
    let mut running = program.spawn(&["list-migrations", "--db-connect", &url]);
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let mut child = String::new();
    until("windlass runs", async || {
        child = fs::read_to_string(&children)
            .unwrap_or_default()
            .trim()
            .to_owned();
        let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        name.trim() == "windlass" && catches_term(&child)
    })
    .await;
    assert!(may(&["kill", "-TERM", &child]));
    until("it has ended", async || running.has_ended()).await;
    let ended = running.wait().await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.elapsed < Duration::from_secs(30));
}

/// Whether a process has something that handles SIGTERM by now.
fn catches_term(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> 14 & 1 == 1)
}

fn job_file() -> Vec<Value> {
    documents_of("deploy/kubernetes/migrate-job.yaml")
}

fn documents_of(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the Job");
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents
        .map(|document| {
            let mut value: Value = serde::Deserialize::deserialize(document).expect("YAML");
            value.apply_merge().expect("anchors that are there");
            value
        })
        .collect()
}

/// What may stand where, of what the Job uses: a word that Kubernetes does not know, or in the wrong
/// place, would be dropped or refused only on the day. Lists are looked at one by one.
fn shapes() -> BTreeMap<&'static str, &'static [&'static str]> {
    let container: &[&str] = &[
        "name",
        "image",
        "command",
        "args",
        "env",
        "envFrom",
        "volumeMounts",
        "securityContext",
        "resources",
    ];
    BTreeMap::from([
        ("", &["apiVersion", "kind", "metadata", "spec"][..]),
        ("metadata", &["name", "annotations"]),
        ("spec", &["backoffLimit", "podFailurePolicy", "template"]),
        ("spec.podFailurePolicy", &["rules"]),
        (
            "spec.podFailurePolicy.rules",
            &["action", "onExitCodes", "onPodConditions"],
        ),
        (
            "spec.podFailurePolicy.rules.onExitCodes",
            &["containerName", "operator", "values"],
        ),
        (
            "spec.podFailurePolicy.rules.onPodConditions",
            &["type", "status"],
        ),
        ("spec.template", &["metadata", "spec"]),
        ("spec.template.metadata", &["labels"]),
        (
            "spec.template.spec",
            &[
                "restartPolicy",
                "serviceAccountName",
                "terminationGracePeriodSeconds",
                "securityContext",
                "initContainers",
                "containers",
                "volumes",
            ],
        ),
        (
            "spec.template.spec.securityContext",
            &[
                "runAsNonRoot",
                "runAsUser",
                "runAsGroup",
                "fsGroup",
                "seccompProfile",
            ],
        ),
        (
            "spec.template.spec.securityContext.seccompProfile",
            &["type"],
        ),
        ("spec.template.spec.initContainers", container),
        ("spec.template.spec.containers", container),
        ("container.env", &["name", "value", "valueFrom"]),
        ("container.env.valueFrom", &["secretKeyRef"]),
        ("container.env.valueFrom.secretKeyRef", &["name", "key"]),
        ("container.envFrom", &["secretRef"]),
        ("container.envFrom.secretRef", &["name"]),
        (
            "container.volumeMounts",
            &["name", "mountPath", "subPath", "readOnly"],
        ),
        (
            "container.securityContext",
            &[
                "allowPrivilegeEscalation",
                "readOnlyRootFilesystem",
                "capabilities",
            ],
        ),
        ("container.securityContext.capabilities", &["drop"]),
        ("container.resources", &["requests", "limits"]),
        ("container.resources.requests", &["cpu", "memory"]),
        ("container.resources.limits", &["cpu", "memory"]),
        (
            "spec.template.spec.volumes",
            &["name", "configMap", "emptyDir"],
        ),
        ("spec.template.spec.volumes.configMap", &["name"]),
        ("spec.template.spec.volumes.emptyDir", &["sizeLimit"]),
    ])
}

/// Names that are the operator's own.
const FREE: [&str; 2] = ["metadata.annotations", "spec.template.metadata.labels"];

fn expect_shape(value: &Value, path: &str, shapes: &BTreeMap<&str, &[&str]>) {
    match value {
        Value::Mapping(map) if !FREE.contains(&path) => {
            let known = shapes
                .get(path)
                .unwrap_or_else(|| panic!("nothing known of {path}"));
            for (key, value) in map {
                let key = key.as_str().expect("a word");
                assert!(known.contains(&key), "{path} has no {key}");
                let below = format!("{path}.{key}");
                let below = below.trim_start_matches('.').to_owned();
                let below = ["initContainers", "containers"]
                    .iter()
                    .fold(below, |below, list| {
                        below.replace(&format!("spec.template.spec.{list}."), "container.")
                    });
                expect_shape(value, &below, shapes);
            }
        }
        Value::Sequence(list) => list.iter().for_each(|one| expect_shape(one, path, shapes)),
        _ => {}
    }
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_sequence().expect("a list").iter();
    list.map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_has_kubernetes_shape_and_heeds_exit_codes() {
    let documents = job_file();
    let kinds: Vec<_> = documents.iter().map(|d| d["kind"].as_str()).collect();
    let expected = ["ServiceAccount", "Role", "RoleBinding", "Job"];
    assert_eq!(kinds, expected.map(Some));
    for document in &documents {
        let annotations = &document["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "pre-upgrade");
        // Helm takes nothing but text.
        assert!(annotations["helm.sh/hook-weight"].is_string());
        let policy = &annotations["helm.sh/hook-delete-policy"];
        assert_eq!(policy, "before-hook-creation");
    }
    let job = &documents[3];
    expect_shape(job, "", &shapes());
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], documents[0]["metadata"]["name"]);
    assert_eq!(
        pod["restartPolicy"], "Never",
        "else podFailurePolicy is refused"
    );
    assert!(pod["terminationGracePeriodSeconds"].as_u64() >= Some(30));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let help = Program::new().run(&["--help"]).await.expect_code(0).stdout;
    let codes = help.split("Exit codes:\n").nth(1).expect("the list");
    let told = codes
        .lines()
        .map_while(|line| line.split_whitespace().next()?.parse().ok());
    // 0 is the end, and 130 is started anew.
    let told: Vec<u64> = told.filter(|code| ![0, 130].contains(code)).collect();
    let rules = &job["spec"]["podFailurePolicy"]["rules"];
    assert_eq!(rules[0]["action"], "FailJob");
    assert_eq!(rules[0]["onExitCodes"]["containerName"], "migrate");
    let fails = rules[0]["onExitCodes"]["values"]
        .as_sequence()
        .expect("codes");
    let fails: Vec<u64> = fails.iter().filter_map(Value::as_u64).collect();
    assert_eq!(fails, told);
    assert!(job["spec"]["backoffLimit"].as_u64() >= Some(10));
    let containers = ["initContainers", "containers"].map(|list| &pod[list]);
    let containers = containers
        .into_iter()
        .flat_map(|l| l.as_sequence().expect("containers"));
    for container in containers {
        expect_container(container, pod).await;
    }
}

async fn expect_container(container: &Value, pod: &Value) {
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(words(&security["capabilities"]["drop"]), ["ALL"]);
    if container["command"].is_null() {
        return;
    }
    // No shell that would swallow signals and exit codes, and no password for all to read.
    assert_eq!(words(&container["command"]), ["windlass"]);
    let args = words(&container["args"]);
    assert!(!args.iter().any(|arg| arg.contains("://")), "{args:?}");
    let parses = [args, vec!["--help".into()]].concat();
    Program::new().run(&parses).await.expect_code(0);
    let variables = container["env"].as_sequence().expect("variables");
    let named = |name: &str| {
        variables
            .iter()
            .find(|v| v["name"] == name)
            .expect("it is set")
    };
    assert!(
        named("PGPASSWORD")["value"].is_null(),
        "from a Secret alone"
    );
    let state = named("WINDLASS_STATE_DIR")["value"]
        .as_str()
        .expect("a path");
    let mounts = container["volumeMounts"].as_sequence().expect("mounts");
    let mount = mounts.iter().find(|mount| {
        let path = mount["mountPath"].as_str().expect("a path");
        // Below the volume, whose own directory is open for all.
        state.starts_with(&format!("{path}/"))
    });
    let volumes = pod["volumes"].as_sequence().expect("volumes");
    let name = &mount.expect("the state has a volume")["name"];
    let volume = volumes.iter().find(|volume| volume["name"] == *name);
    assert!(!volume.expect("the volume")["emptyDir"].is_null());
    for mount in mounts {
        let there = volumes.iter().any(|volume| volume["name"] == mount["name"]);
        assert!(there, "{mount:?} has no volume");
    }
}

/// An index whose worker needs a person fails alone; one that was interrupted is started anew.
#[test]
fn the_job_of_workers_heeds_exit_codes_by_index() {
    let documents = documents_of("deploy/workers/worker-job.yaml");
    let spec = &documents[0]["spec"];
    assert_eq!(spec["completionMode"].as_str(), Some("Indexed"));
    assert!(
        spec["backoffLimitPerIndex"]
            .as_u64()
            .is_some_and(|limit| limit > 0)
    );
    let rules = spec["podFailurePolicy"]["rules"]
        .as_sequence()
        .expect("rules");
    let fails = rules
        .iter()
        .find(|rule| rule["action"].as_str() == Some("FailIndex"));
    let codes = &fails.expect("an index may fail")["onExitCodes"];
    let values: Vec<u64> = serde_yaml::from_value(codes["values"].clone()).expect("codes");
    assert_eq!(values, [2, 3, 5]);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"].as_str(), Some("Never"));
    let args: Vec<String> =
        serde_yaml::from_value(pod["containers"][0]["args"].clone()).expect("arguments");
    assert_eq!(args[0], "worker");
    assert!(args.contains(&"--state-dir".to_owned()), "{args:?}");
}
