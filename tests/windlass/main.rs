//! The whole-program tests: the real binary against real servers.
//!
//! They are one test binary, so that one PostgreSQL and one S3 server serve them all. `scripts/test`
//! fetches what they need; a missing server fails a test with the words to install it.

mod accept;
mod anchore_cli;
mod aws_ways;
mod big_objects;
#[cfg(feature = "failpoints")]
mod checkpoint_hazards;
mod config_show;
mod conformance;
mod connections;
#[cfg(feature = "failpoints")]
mod crash;
mod database_options;
mod decisions;
mod demo;
mod docs;
mod doctor;
mod doctor_sample;
mod document_names;
mod encodings;
mod endless;
mod escapes;
mod failed_objects;
mod filters;
mod forbidden;
mod forms;
mod full;
mod hostile;
mod interrupt;
mod journal;
mod journal_tamper;
mod journal_verify;
mod kill;
mod kubernetes;
mod layering;
mod limits;
mod matrix;
mod migrate;
mod network;
mod online;
mod options;
mod other_s3;
mod outage;
mod output;
mod packaging;
mod people;
mod power;
mod reference;
mod refusals;
mod refused_rows;
mod report;
mod report_page;
mod resume;
mod reverse;
mod safety;
mod same_again;
mod secrets;
mod selection;
mod serve;
mod serve_page;
mod servers;
mod serving;
mod sharing;
mod sql_of_old;
mod sqlite;
mod state_dir;
mod status;
mod store_faults;
mod store_rights;
mod support;
mod support_itself;
mod turns;
mod uploads;
mod variants;
mod verify;
mod walkthroughs;
#[cfg(feature = "failpoints")]
mod workers;
mod world;
