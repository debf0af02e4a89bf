//! What is so after a run: which documents Anchore could read with the configuration before and
//! with the one after, and what has to change in its configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::connect;
use super::format::count;
use crate::catalog::{Catalog, RowGroup};
use crate::config::{ConfigFile, DriverConfig, Section, StoreConfig};
use crate::database::Database;
use crate::engine::ConfiguredStore;
use crate::engine::RunReport;
use crate::model::{DriverKind, TaskKind, in_a_line};

/// How long counting may take; someone may be waiting at the keyboard.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// All of it, as `--json` has it, too.
#[derive(Debug, Default, Serialize)]
pub struct Aftermath {
    /// With the configuration before and with the one after; none where it could not be counted.
    pub anchore_reads: Vec<Reading>,
    /// What has to change for Anchore to read what was moved.
    pub configuration: Option<Change>,
}

/// What Anchore could read with a configuration file.
#[derive(Debug, Serialize)]
pub struct Reading {
    /// The file.
    pub file: PathBuf,
    /// All documents of the deployment.
    pub documents: u64,
    /// Those that it could not read.
    pub unreadable: u64,
    /// Where they are, and why not.
    pub not_read: Vec<NotRead>,
}

/// Documents that no configured store of a file reaches.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NotRead {
    /// How many.
    pub documents: u64,
    /// Where they are.
    pub place: String,
    /// The section that would have to read them.
    pub section: &'static str,
    /// What that opens instead.
    pub opens: String,
}

/// What has to change in a configuration file.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The file that Anchore uses.
    pub file: PathBuf,
    /// Its section that must change, with dots; none where it says the right thing already.
    pub section: Option<String>,
    /// The file that has it as it must be.
    pub as_in: PathBuf,
    /// What must stand there, as YAML, secrets as stars.
    pub yaml: Option<String>,
    /// A section that must not be there any more.
    pub remove: Option<String>,
}

/// Looks at what a run has left. What can't be found out is left out.
pub async fn look(
    database: &Database,
    (source, destination): (&ConfiguredStore, &ConfiguredStore),
    report: &RunReport,
) -> Aftermath {
    let limit = match report.stopped {
        Some(_) => LIMIT_WHEN_STOPPED,
        None => LIMIT,
    };
    let bases = [base(&source.config), base(&destination.config)];
    let groups = async {
        // The run was in it a moment ago.
        let catalog = Catalog::of_this_process(database.clone());
        catalog.row_groups([&bases[0], &bases[1]]).await
    };
    let anchore_reads = match tokio::time::timeout(limit, groups).await {
        Ok(Ok(groups)) => {
            let groups: Vec<_> = groups
                .iter()
                .map(|group| Placed::new(group, [source, destination], &bases))
                .collect();
            let mut files = vec![&source.path, &destination.path];
            files.dedup();
            files
                .into_iter()
                .filter_map(|file| reading(file, &groups))
                .collect()
        }
        Ok(Err(error)) => {
            tracing::info!("{error}");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    Aftermath {
        anchore_reads,
        configuration: change(source, destination, report.kind),
    }
}

/// What the URLs of a store begin with.
fn base(store: &StoreConfig) -> String {
    match store.driver {
        DriverConfig::Localfs(_) => format!("{}/", store.place().trim_end_matches('/')),
        _ => store.place(),
    }
}

/// Rows, and the store that they are in, where it is one of the two.
struct Placed<'a> {
    group: &'a RowGroup,
    store: Option<&'a StoreConfig>,
    place: String,
}

impl<'a> Placed<'a> {
    fn new(group: &'a RowGroup, sides: [&'a ConfiguredStore; 2], bases: &[String; 2]) -> Self {
        // The base of one can begin with the other's: a prefix within the same bucket.
        let first_is_longer = bases[0].len() > bases[1].len();
        let side = match (group.at_first, group.at_second) {
            (true, second) if !second || first_is_longer => Some(0),
            (_, true) => Some(1),
            _ => None,
        };
        let scheme = match group.scheme.is_empty() {
            true => "a place of another tool".to_owned(),
            false => format!("{}://", group.scheme),
        };
        Self {
            group,
            store: side.map(|side| &sides[side].config),
            place: side.map_or(scheme, |side| sides[side].config.place()),
        }
    }

    /// Anchore opens one store per section, and looks for it by the URL's scheme.
    fn is_read_by(&self, store: &StoreConfig) -> bool {
        let scheme = DriverKind::ALL
            .into_iter()
            .find(|kind| kind.name() == store.driver.name())
            .map(DriverKind::scheme);
        scheme == Some(self.group.scheme.as_str())
            && self.store.is_none_or(|place| store.reaches(place))
    }
}

fn reading(file: &Path, groups: &[Placed<'_>]) -> Option<Reading> {
    let config = connect::load(file).ok()?;
    let opened = |section| config.opened_by_anchore(section).ok();
    let (object_store, archive) = (
        opened(Section::ObjectStore)?,
        opened(Section::AnalysisArchive)?,
    );
    let archive_name = config.section_name(Section::AnalysisArchive).ok()?;
    let mut reading = Reading {
        file: file.to_owned(),
        documents: 0,
        unreadable: 0,
        not_read: Vec::new(),
    };
    for placed in groups {
        let (store, section) = match (placed.group.is_archived, archive_name) {
            (true, Some(name)) => (&archive, name),
            _ => (&object_store, "object_store"),
        };
        let documents = placed.group.rows.unsigned_abs();
        reading.documents += documents;
        if placed.is_read_by(store) {
            continue;
        }
        reading.unreadable += documents;
        let place = placed.place.clone();
        let opens = store.place();
        let same = |n: &&mut NotRead| n.place == place && n.section == section;
        match reading.not_read.iter_mut().find(same) {
            Some(known) => known.documents += documents,
            None => reading.not_read.push(NotRead {
                documents,
                place,
                section,
                opens,
            }),
        }
    }
    Some(reading)
}

/// What has to change in the file that Anchore has used so far. After a reverse that file is not
/// known: it may have been changed after the task that was undone, or not.
fn change(
    source: &ConfiguredStore,
    destination: &ConfiguredStore,
    kind: TaskKind,
) -> Option<Change> {
    let used = match kind {
        TaskKind::Forward => source,
        TaskKind::Reverse => destination,
        TaskKind::DeleteSource => return None,
    };
    let (now, as_in) = (load(&used.path)?, load(&destination.path)?);
    let section = section_of(&destination.section);
    let says_it = kind == TaskKind::Forward
        && now.section_name(section).ok()?.is_some() == as_in.section_name(section).ok()?.is_some()
        && now
            .store(section)
            .is_ok_and(|store| store.fingerprint() == destination.config.fingerprint());
    let name = as_in.section_name(section).ok()?;
    // Anchore would look there for archived analyses, and not where they have been brought.
    let remove = match (section, source.section.as_str()) {
        (Section::ObjectStore, "analysis_archive") => {
            let is_there = kind == TaskKind::Reverse
                || now.section_name(Section::AnalysisArchive).ok()?.is_some();
            is_there.then(|| dotted("analysis_archive"))
        }
        _ => None,
    };
    let yaml = match says_it {
        true => None,
        false => Some(as_in.section_to_paste(section)?),
    };
    Some(Change {
        file: used.path.clone(),
        section: yaml
            .is_some()
            .then(|| dotted(name.unwrap_or("object_store"))),
        as_in: destination.path.clone(),
        yaml,
        remove,
    })
}

fn load(file: &Path) -> Option<ConfigFile> {
    connect::load(file).ok()
}

fn section_of(name: &str) -> Section {
    match name {
        "analysis_archive" => Section::AnalysisArchive,
        _ => Section::ObjectStore,
    }
}

fn dotted(section: &str) -> String {
    format!("services.catalog.{section}")
}

impl Reading {
    /// In one line, or a few.
    pub fn words(&self) -> String {
        let file = self.file.display();
        match self.unreadable {
            0 => format!(
                "with {file} Anchore reads all {}",
                count(self.documents, "document")
            ),
            n => {
                let places: Vec<_> = self
                    .not_read
                    .iter()
                    .map(|not| {
                        format!(
                            "{} in {} ({} is {})",
                            not.documents, not.place, not.section, not.opens
                        )
                    })
                    .collect();
                format!(
                    "with {file} Anchore cannot read {n} of {}: {}",
                    count(self.documents, "document"),
                    in_a_line(&places.join(", "))
                )
            }
        }
    }
}

impl Change {
    /// What to change, with the section to paste.
    pub fn lines(&self, kind: TaskKind) -> Vec<String> {
        let (file, as_in) = (self.file.display(), self.as_in.display());
        let mut lines = Vec::new();
        if let (Some(section), Some(yaml)) = (&self.section, &self.yaml) {
            let stars = match yaml.contains("'***'") {
                true => " ('***': a secret, to be filled in)",
                false => "",
            };
            lines.push(match kind {
                TaskKind::Reverse => {
                    format!(
                        "{section} of Anchore's config.yaml must be, again, as in {as_in}{stars}:"
                    )
                }
                _ => format!("{section} of {file} must be as in {as_in}{stars}:"),
            });
            // As it stands in the file: under `services`, under `catalog`.
            lines.extend(yaml.lines().map(|line| format!("    {line}")));
        }
        if let Some(section) = &self.remove {
            lines.push(match kind {
                TaskKind::Reverse => format!(
                    "{section} must not stand in Anchore's config.yaml unless it stands in {as_in}"
                ),
                _ => format!("{section} of {file} must go"),
            });
        }
        lines
    }

    /// What to do with that, before the services are started.
    pub fn next(&self, kind: TaskKind) -> String {
        let file = self.file.display();
        match (kind, self.yaml.is_some() || self.remove.is_some()) {
            (TaskKind::Reverse, _) => "next: if Anchore's config.yaml was changed after the task \
                                       that was undone, put that back; then start its services"
                .into(),
            (_, true) => format!("next: change {file} so, then start Anchore's services"),
            (_, false) => {
                format!("next: {file} says so already: start Anchore's services")
            }
        }
    }
}
