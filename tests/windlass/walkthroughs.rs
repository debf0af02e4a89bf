//! The pages that lead somebody through a migration, typed line by line and in their order, on servers of the
//! tests: no step may want what an earlier one has not made, and what a page shows is what is shown.

use std::path::Path;

use regex::Regex;

use crate::support::postgres::{self, Database};
use crate::support::program::Program;
use crate::support::s3;

const DOCUMENTS: &str = include_str!("../../fixtures/demo/documents.postgres.sql");
const QUICKSTART: &str = include_str!("../../docs/quickstart.md");
const SCALE_OUT: &str = include_str!("../../docs/scale-out.md");
const COMPOSE_PAGE: &str = include_str!("../../deploy/compose/README.md");
const COMPOSE: &str = include_str!("../../deploy/compose/compose.yaml");
const COMPOSE_CONFIG: [(&str, &str); 2] = [
    (
        "config.yaml",
        include_str!("../../deploy/compose/config/config.yaml"),
    ),
    (
        "config-new.yaml",
        include_str!("../../deploy/compose/config/config-new.yaml"),
    ),
];

/// The deployment that the pages begin with, and what of them stands for what here.
struct Walk {
    program: Program,
    database: Database,
    bucket: String,
    here: Vec<(String, String)>,
}

impl Walk {
    /// With a page's own database and S3 server.
    async fn begin(database_url: &str, s3_url: &str) -> Self {
        let database = postgres::fresh_database().await;
        sqlx::raw_sql(DOCUMENTS)
            .execute(&database.pool)
            .await
            .expect("the documents");
        let s3 = s3::server().await;
        let bucket = format!("walk-{}", uuid::Uuid::new_v4().simple());
        let pg8000 = |url: &str| url.replacen("postgresql:", "postgresql+pg8000:", 1);
        let here = [
            (pg8000(database_url), pg8000(&database.url)),
            (database_url.to_owned(), database.url.clone()),
            (s3_url.to_owned(), s3.url.clone()),
            (
                "access_key: windlass".to_owned(),
                format!("access_key: {}", s3.access_key),
            ),
            (
                "secret_key: windlass-secret".to_owned(),
                format!("secret_key: {}", s3.secret_key),
            ),
            ("anchorearchive".to_owned(), bucket.clone()),
        ];
        Self {
            program: Program::new(),
            database,
            bucket,
            here: here.into(),
        }
    }

    /// What a page says, said of the servers here.
    fn here(&self, text: &str) -> String {
        let replace = |text: String, (there, here): &(String, String)| text.replace(there, here);
        self.here.iter().fold(text.to_owned(), replace)
    }

    /// The two configurations of the guide in containers.
    async fn with_configs() -> Self {
        let walk = Self::begin(
            "postgresql://anchore@postgres:5432/anchore",
            "http://s3:8333",
        )
        .await;
        for (name, text) in COMPOSE_CONFIG {
            walk.write_config(name, text);
        }
        walk
    }

    /// The same, with the database named in the environment.
    async fn of_machines() -> Self {
        let mut walk = Self::with_configs().await;
        let url = walk.database.url.clone();
        walk.program = walk.program.env("WINDLASS_DB_CONNECT", &url);
        walk
    }

    /// Types it as it stands, with no state directory of ours.
    async fn exactly(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let outcome = self.program.spawn_exactly(&words, "").wait().await;
        assert_eq!(outcome.code, Some(0), "windlass {line}: {outcome:?}");
        outcome.stdout
    }

    fn write_config(&self, name: &str, text: &str) {
        let here = self.here(text);
        assert_ne!(here, text, "{name} names none of the page's servers");
        std::fs::write(self.program.home().join(name), here).expect("written");
    }

    /// Types what stands behind the program's name, with a yes for whoever asks; its stdout.
    async fn step(&self, line: &str) -> String {
        let line = self.here(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        let outcome = self.program.run_with_input(&words, "y\n").await;
        assert_eq!(outcome.code, Some(0), "windlass {line}: {outcome:?}");
        outcome.stdout
    }

    /// Every row points into the new store, and nothing else is left of the migration.
    async fn expect_moved(&self) {
        let urls: Vec<String> = sqlx::query_scalar("SELECT content_url FROM archive_metadata")
            .fetch_all(&self.database.pool)
            .await
            .expect("rows");
        let store = format!("s3://{}/", self.bucket);
        assert_eq!(urls.len(), 7);
        assert!(urls.iter().all(|url| url.starts_with(&store)), "{urls:?}");
    }
}

/// The fenced blocks of a language, in the page's order.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.match_indices(&fence)
        .map(|(at, _)| &page[at + fence.len()..])
        .map(|rest| rest.split("\n```").next().expect("an end"))
        .collect()
}

/// What the page types into a shell behind these words.
fn typed<'p>(page: &'p str, behind: &'p str) -> Vec<&'p str> {
    let lines = blocks(page, "sh").into_iter().flat_map(str::lines);
    lines.filter_map(|line| line.strip_prefix(behind)).collect()
}

/// Lines are broken where the paths of the machine end, and times are the machine's, too.
fn same_everywhere(text: &str, home: &Path) -> String {
    let text = text.replace(&home.display().to_string(), "/HERE");
    let text = Regex::new(r"\d+\.\d s\b")
        .expect("times")
        .replace_all(&text, "TIME");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_can_be_typed_from_its_first_step_to_its_last() {
    let walk = Walk::begin(
        "postgresql://anchore@127.0.0.1:15432/anchore",
        "http://127.0.0.1:18333",
    )
    .await;
    for block in blocks(QUICKSTART, "yaml") {
        let (name, _) = block.split_once('\n').expect("a name");
        walk.write_config(name.trim_start_matches("# "), block);
    }
    let lines = typed(QUICKSTART, "windlass ");
    assert!(lines.len() >= 13, "{lines:?}");
    let mut shown = String::new();
    for line in lines {
        let said = walk.step(line).await;
        if line == "migrate config.yaml config-new.yaml" {
            walk.expect_moved().await;
            shown = said;
        }
    }
    walk.expect_moved().await;
    let [page] = blocks(QUICKSTART, "text")[..] else {
        panic!("one end is shown");
    };
    let page = walk.here(page).replace("/tmp/windlass-walk", "/HERE");
    let page = same_everywhere(&page, walk.program.home());
    let shown = same_everywhere(&shown, walk.program.home());
    assert!(
        shown.contains(&page),
        "the page shows\n{page}\nand it is\n{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_in_containers_can_be_typed_from_its_first_step_to_its_last() {
    let mut walk = Walk::with_configs().await;
    // What every container of the program has in its environment.
    let compose: serde_json::Value = serde_yaml::from_str(COMPOSE).expect("YAML");
    let variables = compose["services"]["windlass"]["environment"].as_object();
    for (name, value) in variables.expect("an environment") {
        let value = walk.here(value.as_str().expect("a text"));
        walk.program = walk.program.env(name, &value);
    }
    let lines = typed(COMPOSE_PAGE, "docker compose run --rm windlass ");
    assert!(lines.len() >= 9, "{lines:?}");
    for line in lines {
        walk.step(line).await;
    }
    walk.expect_moved().await;
}

/// The page on several machines. All of them are this one, each with a state directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_several_machines_can_be_typed_from_its_first_step_to_its_last() {
    let section = |name: &str| {
        let (_, behind) = SCALE_OUT.split_once(name).expect("the section");
        behind.split("\n## ").next().expect("its text")
    };
    let parallel = "seq 4 | parallel -j 4 windlass ";
    let [started] = typed(section("## Started by others"), parallel)[..] else {
        panic!("workers are started by one line");
    };
    let walk = Walk::of_machines().await;
    for line in typed(section("## Begin"), "windlass migrate") {
        walk.step(&format!("migrate{line}")).await;
    }
    let workers = ["1", "2", "3"].map(|number| started.replace("{}", number));
    futures::future::join_all(workers.iter().map(|line| walk.exactly(line))).await;
    walk.expect_moved().await;
    // Nothing is left to do, and each of them says so.
    for name in ["## Begin", "## When something dies"] {
        for line in typed(section(name), "windlass ") {
            if !line.starts_with("migrate") {
                walk.step(line).await;
            }
        }
    }
    let export = "--state-dir worker-3 journal 1 --format jsonl";
    let export = walk.exactly(export).await;
    std::fs::write(walk.program.home().join("worker-3.jsonl"), export).expect("written");
    let lines = typed(section("## The audit"), "windlass ");
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        // Once, rather than until a signal.
        let once = line.split(" --every").next().expect("words");
        let line = once.replace("/audit", "audit");
        walk.exactly(&format!("--state-dir worker-1 {line}")).await;
    }

    let walk = Walk::of_machines().await;
    let lines = typed(section("## While the services run"), "windlass ");
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        walk.step(line).await;
    }
    walk.expect_moved().await;
}
