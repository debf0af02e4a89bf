//! windlass's SQL is that of PostgreSQL 9.6, the oldest that Anchore's compose files bring up. The
//! oldest server that can be had for tests is a 10, so the rest is held here, by name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Functions that 9.6 documents, and words before a parenthesis that are no functions.
const OF_9_6: &[&str] = &[
    // Its functions and types.
    "bool_or",
    "cardinality",
    "coalesce",
    "convert_to",
    "count",
    "current_database",
    "current_schema",
    "current_setting",
    "decode",
    "extract",
    "floor",
    "format",
    "has_any_column_privilege",
    "has_schema_privilege",
    "has_sequence_privilege",
    "has_table_privilege",
    "host",
    "json_array_elements",
    "json_array_elements_text",
    "least",
    "left",
    "inet_client_addr",
    "inet_server_addr",
    "inet_server_port",
    "length",
    "lower",
    "max",
    "md5",
    "min",
    "now",
    "octet_length",
    "random",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_backend_pid",
    "pg_get_serial_sequence",
    "pg_is_in_recovery",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "quote_ident",
    "round",
    "row_number",
    "set_config",
    "string_agg",
    "substr",
    "sum",
    "to_char",
    "to_regclass",
    "unnest",
    "upper",
    // Words of the grammar.
    "add",
    "all",
    "and",
    "any",
    "as",
    "by",
    "case",
    "cast",
    "check",
    "conflict",
    "else",
    "exists",
    "filter",
    "from",
    "in",
    "into",
    "key",
    "lateral",
    "not",
    "on",
    "or",
    "over",
    "select",
    "then",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// Asked for workers alone, which need a server of 10 or later, and are refused on an older one.
const OF_10: &[&str] = &["pg_current_wal_lsn", "pg_walfile_name"];

/// SQLite's own, in statements that PostgreSQL never sees.
const OF_SQLITE: &[&str] = &[
    "json_each",
    "julianday",
    "pragma_table_info",
    "sqlite_version",
    "strftime",
];

/// Names of our own before a parenthesis: tables with their columns, aliases of row sets.
const OURS: &[&str] = &[
    "archive_migration_tasks",
    "s",
    "t",
    "tables",
    "tasks",
    "u",
    "w",
];

/// What came after 9.6 and is no function.
const LATER: &[&str] = &[
    "add column if not exists",
    "any_value",
    "as materialized",
    "as not materialized",
    "backend_type",
    "detach partition",
    "fetch first",
    "generated ",
    "group by distinct",
    "include (",
    "merge into",
    "nulls not distinct",
    "partition by hash",
    "partition by list",
    "partition by range",
    "procedure",
    "with ties",
    "xmltable",
    "->>'$",
    "jsonb_path",
];

/// String literals of a Rust source, in order: enough of the language for ours.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") {
            at += 4;
        } else if rest.starts_with("r#\"") {
            let end = rest.find("\"#").expect("a raw literal ends");
            found.push(rest[3..end].to_owned());
            at += end + 2;
        } else if rest.starts_with('"') {
            let mut end = 1;
            let raw = at > 0 && bytes[at - 1] == b'r';
            while bytes[at + end] != b'"' {
                end += if bytes[at + end] == b'\\' && !raw {
                    2
                } else {
                    1
                };
            }
            found.push(source[at + 1..at + end].to_owned());
            at += end + 1;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// All SQL that a PostgreSQL may be asked to run: statements and pieces of them.
fn statements() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    let mut dirs = vec![root.join("src"), root.join("migrations/postgres")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory of ours").flatten() {
            let path = entry.path();
            let name = path.display().to_string();
            if path.is_dir() {
                dirs.push(path);
            } else if name.ends_with(".sql") {
                all.push((name, fs::read_to_string(path).expect("a migration")));
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && speaks_sql(&name) {
                let source = fs::read_to_string(path).expect("a source");
                // Tests at a file's end have SQL of their own.
                let source = source.split("#[cfg(test)]").next().unwrap_or_default();
                let pieces = literals(source).into_iter().filter(|piece| is_sql(piece));
                all.extend(pieces.map(|piece| (name.clone(), piece)));
            }
        }
    }
    all
}

fn speaks_sql(path: &str) -> bool {
    ["/src/catalog/", "/src/database/", "/src/driver/db/"]
        .iter()
        .any(|home| path.contains(home))
        && !path.contains("/catalog/sqlite/")
        // What people are told to type.
        && !path.ends_with("/advice.rs")
}

/// Pieces that are put together count as well; what is for people has no such signs.
fn is_sql(piece: &str) -> bool {
    let signs = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "WHERE",
        " AND ",
        "FROM",
        "::",
        "CAST(",
        "SET ",
        "CREATE",
        "ALTER",
        "now()",
        "octet_length",
        "unnest",
    ];
    signs.iter().any(|sign| piece.contains(sign))
}

/// Names that stand right before a parenthesis, in lower case.
fn called(sql: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in sql.match_indices('(') {
        let before = sql[..at].trim_end_matches(' ');
        let start = before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
        let name = &before[start..];
        if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            names.insert(name.to_lowercase());
        }
    }
    names
}

#[test]
fn no_function_is_newer_than_9_6() {
    let known = [OF_9_6, OF_10, OF_SQLITE, OURS].concat();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, sql) in statements() {
        for name in called(&without_comments(&sql)) {
            seen += 1;
            if !known.contains(&&*name) && !name.starts_with("windlass_") {
                wrong.push(format!("{file}: {name}("));
            }
        }
    }
    assert!(
        seen > 100,
        "only {seen} calls found: the sources have changed their shape"
    );
    assert!(
        wrong.is_empty(),
        "is it in 9.6's manual? then add it here: {wrong:#?}"
    );
}

#[test]
fn no_construct_is_newer_than_9_6() {
    let mut wrong = Vec::new();
    for (file, sql) in statements() {
        let sql = without_comments(&sql).to_lowercase();
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let later = LATER.iter().filter(|word| sql.contains(**word));
        wrong.extend(later.map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn without_comments(sql: &str) -> String {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}
