//! `doctor`: all that a migration would ask before its first byte, asked at once and shown on one page.
//! Nothing is planned, no lock is taken, and what is written to a store is deleted again.

mod database;
mod here;
mod page;
mod plan;
mod stores;

use self::database::Reached;
use self::page::{OBJECT_STORE, Page, Side};
use super::args::{DoctorArgs, Global};
use super::{ExitStatus, Printer, check, connect};
use crate::catalog::{Catalog, Rehearsal};
use crate::config::{ConfigFile, StoreConfig};
use crate::database::Database;
use crate::driver::{self, Fence};
use crate::engine::{ConfiguredStore, MigrateRequest, Sharing, Store};
use crate::model::DriverKind;

pub async fn run(
    args: &DoctorArgs,
    global: &Global,
    printer: &Printer,
) -> anyhow::Result<ExitStatus> {
    let mut page = Page::default();
    let state_dir = here::ask(&mut page, global, args.concurrency);
    let migration = &args.migration;
    let from = Configured::ask(
        &mut page,
        Side::Source,
        (&migration.from, migration.from_analysis_archive),
        global,
    );
    let to = Configured::ask(
        &mut page,
        Side::Destination,
        (&migration.to, migration.to_analysis_archive),
        global,
    );
    let configs = [&from, &to].map(|side| side.file.as_ref());
    let reached = database::reach(&mut page, global, configs).await;
    if let Some(reached) = &reached {
        let stores = [&from, &to].into_iter().filter_map(Configured::config);
        let stores: Vec<&StoreConfig> = stores.collect();
        database::ask(&mut page, reached, args, &stores).await;
    }
    let opened = Opened {
        from: from.open(&mut page, Side::Source, reached.as_ref()).await?,
        to: to
            .open(&mut page, Side::Destination, reached.as_ref())
            .await?,
    };
    let _made = opened.to.as_ref().map(stores::Made::unless_there);
    let works = opened.ask(&mut page, args).await;
    let was_stopped = match (&opened.from, &opened.to, &reached) {
        (Some(from), Some(to), Some(reached)) => {
            let places = (from, to);
            let found = ask_migration(&mut page, args, reached, places, &works).await;
            if let (Some(found), Some(state_dir)) = (&found, &state_dir) {
                here::ask_space(&mut page, state_dir, found.objects);
            }
            ask_duration(&mut page, printer, args, places, (found, works)).await?
        }
        _ => {
            let names = ["tasks", "plan", "duration"];
            page.not_asked(Side::Both, &names, "it needs the database and both stores");
            false
        }
    };
    page.print(printer);
    Ok(match was_stopped {
        true => ExitStatus::Interrupted,
        false => page.status(),
    })
}

/// What earlier tasks mean for it, and what it would move.
async fn ask_migration(
    page: &mut Page,
    args: &DoctorArgs,
    reached: &Reached,
    (from, to): (&Store, &Store),
    works: &Works,
) -> Option<Rehearsal> {
    let request = MigrateRequest {
        from: of(from),
        to: of(to),
        policy: args.migration.policy(),
        dry_run: true,
        new_task: args.migration.new_task,
        sharing: Sharing::Alone,
    };
    let catalog = Catalog::of_this_process(reached.database.clone());
    plan::ask_tasks(page, &catalog, &request, from).await;
    let sample = args.sample.unwrap_or(stores::READ);
    let found = plan::ask_plan(page, &catalog, &request, (from, to), sample).await?;
    stores::ask_space(page, to, found.objects, found.bytes);
    if works.source && !found.sample.is_empty() {
        let read = found.sample.len().min(stores::READ as usize);
        stores::ask_documents(page, from, &found.sample[..read]).await;
    }
    Some(found)
}

/// How long it would take, where that is asked and can be tried. Whether that was asked to end.
async fn ask_duration(
    page: &mut Page,
    printer: &Printer,
    args: &DoctorArgs,
    places: (&Store, &Store),
    (found, works): (Option<Rehearsal>, Works),
) -> anyhow::Result<bool> {
    let why = match (&found, args.sample) {
        (_, None) => "--sample N copies N documents, reads them back and deletes them again",
        (Some(found), Some(_)) if found.objects == 0 => "there is nothing to move",
        (Some(found), Some(_)) if works.may_sample() => {
            return plan::ask_duration(page, printer, places, found, args.concurrency).await;
        }
        _ => "a check before it failed",
    };
    page.not_asked(Side::Both, &["duration"], why);
    Ok(false)
}

fn of(store: &Store) -> ConfiguredStore {
    ConfiguredStore {
        config: store.config.clone(),
        path: store.path.clone(),
        section: store.section.clone(),
    }
}

/// A side as its configuration has it, as far as that can be read.
struct Configured {
    file: Option<ConfigFile>,
    store: Option<ConfiguredStore>,
}

impl Configured {
    fn ask(
        page: &mut Page,
        side: Side,
        (path, is_archive): (&std::path::Path, bool),
        global: &Global,
    ) -> Self {
        let file = match connect::load(path) {
            Ok(file) => file,
            Err(error) => {
                page.error(side, "configuration", error);
                return Self {
                    file: None,
                    store: None,
                };
            }
        };
        let store = match connect::store_quietly(&file, is_archive, global) {
            Ok(store) => {
                let notices = store.config.notices.iter().map(ToString::to_string);
                let notices: Vec<String> = notices.collect();
                let read = format!(
                    "{} ({} in {})",
                    store.config.place(),
                    store.section,
                    store.path.display()
                );
                match notices.is_empty() {
                    true => page.ok(side, "configuration", read),
                    false => page.warn(
                        side,
                        "configuration",
                        format!("{read}: {}", notices.join("; ")),
                        "windlass config show tells what it comes to",
                    ),
                }
                Some(store)
            }
            Err(error) => {
                page.error(side, "configuration", error);
                None
            }
        };
        Self {
            file: Some(file),
            store,
        }
    }

    fn config(&self) -> Option<&StoreConfig> {
        self.store.as_ref().map(|store| &store.config)
    }

    /// The store, opened beside no lock: what is deleted is nobody's but the probe.
    async fn open(
        &self,
        page: &mut Page,
        side: Side,
        reached: Option<&Reached>,
    ) -> anyhow::Result<Option<Store>> {
        let Some(store) = &self.store else {
            let names = [OBJECT_STORE, "server", "latency"];
            page.not_asked(side, &names, "its configuration can't be used");
            return Ok(None);
        };
        let kind: Option<DriverKind> = store.config.driver.name().parse().ok();
        let is_database = matches!(kind, Some(DriverKind::Db | DriverKind::Db2));
        let database: Database = match (reached, is_database) {
            (Some(reached), _) => reached.database.clone(),
            (None, false) => check::no_database().await?,
            (None, true) => {
                page.not_asked(side, &[OBJECT_STORE], "the database cannot be reached");
                return Ok(None);
            }
        };
        match driver::open(&store.config, &database, Fence::Open).await {
            Ok(driver) => Ok(Some(Store {
                config: store.config.clone(),
                path: store.path.clone(),
                section: store.section.clone(),
                driver,
            })),
            Err(error) => {
                page.error(side, OBJECT_STORE, error);
                page.not_asked(side, &["server", "latency"], "the store can't be opened");
                Ok(None)
            }
        }
    }
}

/// Both stores, as far as they can be opened.
struct Opened {
    from: Option<Store>,
    to: Option<Store>,
}

/// What of them works.
#[derive(Debug, Default)]
struct Works {
    source: bool,
    destination: bool,
    both: bool,
}

impl Works {
    fn may_sample(&self) -> bool {
        self.source && self.destination && self.both
    }
}

impl Opened {
    async fn ask(&self, page: &mut Page, args: &DoctorArgs) -> Works {
        let mut works = Works::default();
        if let Some(from) = &self.from {
            works.source = stores::ask_source(page, from).await;
        }
        if let Some(to) = &self.to {
            works.destination = stores::ask_destination(page, to).await;
        }
        let (Some(from), Some(to)) = (&self.from, &self.to) else {
            page.not_asked(Side::Both, &["fit"], "it needs both stores");
            return works;
        };
        works.both = stores::ask_both(page, from, to, &args.migration.policy());
        if works.may_sample() {
            works.both = stores::ask_two_places(page, from, to).await;
        } else {
            page.not_asked(Side::Both, &["two-places"], "a check before it failed");
        }
        works
    }
}
