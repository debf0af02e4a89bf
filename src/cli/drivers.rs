//! `list-drivers`.

use super::{ExitStatus, Printer};
use crate::model::DriverKind;

pub fn run(printer: &Printer) -> ExitStatus {
    let names = DriverKind::ALL.map(DriverKind::name);
    printer.result(&serde_json::json!({ "drivers": names }), || {
        names.join("\n")
    });
    ExitStatus::Complete
}
