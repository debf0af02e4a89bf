//! `config show`: a configuration as windlass understands it. It connects to nothing.

use serde::Serialize;

use super::args::{ConfigArgs, ConfigCommand, ConfigShowArgs, Global};
use super::command::variable;
use super::printer::result_columns;
use super::{ExitStatus, Printer, connect, fault, format};
use crate::config::{ConfigFile, Origin, Setting};
use crate::database::{ConnectOptions, DatabaseUrl, PostgresUrl, SslMode};

pub fn run(args: &ConfigArgs, global: &Global, printer: &Printer) -> anyhow::Result<ExitStatus> {
    let ConfigCommand::Show(args) = &args.command;
    let shown = shown(args, global)?;
    printer.result(&shown, || format::folded(&words(&shown), result_columns()));
    Ok(ExitStatus::Complete)
}

/// A value, and where it is from.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    value: Option<String>,
    /// `file`, `environment`, `option` or `default`.
    from: &'static str,
    /// The variables of the environment that it is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variables: Vec<String>,
}

impl Line {
    fn new(name: &str, value: Option<String>, origin: &Origin) -> Self {
        let (from, variables) = match origin {
            Origin::File => ("file", Vec::new()),
            Origin::Variables(variables) => ("environment", variables.clone()),
            Origin::Default => ("default", Vec::new()),
        };
        Self {
            name: name.to_owned(),
            value,
            from,
            variables,
        }
    }

    fn of(setting: Setting) -> Self {
        Self::new(&setting.name, setting.value, &setting.origin)
    }

    fn cells(&self) -> Vec<String> {
        let from = match self.variables.is_empty() {
            true => self.from.to_owned(),
            false => self.variables.join(", "),
        };
        let value = self.value.clone().unwrap_or_else(|| "-".to_owned());
        vec![self.name.clone(), value, from]
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    config: String,
    section: String,
    /// The key that is read for it; none where there is no such section.
    key: Option<String>,
    driver: &'static str,
    place: String,
    store: Vec<Line>,
    /// Empty where neither the file nor the command line names one.
    database: Vec<Line>,
    notices: Vec<String>,
}

fn shown(args: &ConfigShowArgs, global: &Global) -> anyhow::Result<Shown> {
    let config = connect::load(&args.config)?;
    let section = connect::section(args.analysis_archive);
    let shown = config.shown_store(section)?;
    let mut store: Vec<Line> = shown.settings.into_iter().map(Line::of).collect();
    if let (Some(bundle), "s3" | "swift") = (&global.ca_bundle, shown.store.driver.name()) {
        let path = Some(bundle.display().to_string());
        let line = of_option("ca-bundle", path, false);
        // It stands in for the option, under the name that AWS's own tools know.
        let is_named_so = std::env::var_os("AWS_CA_BUNDLE").as_deref() == Some(bundle.as_os_str());
        store.push(match is_named_so {
            true => Line {
                from: "environment",
                variables: vec!["AWS_CA_BUNDLE".into()],
                ..line
            },
            false => line,
        });
    }
    let notices = shown.store.notices.iter();
    Ok(Shown {
        config: std::path::absolute(config.path())?.display().to_string(),
        section: connect::section_name(args.analysis_archive).to_owned(),
        key: shown.key,
        driver: shown.store.driver.name(),
        place: shown.store.place(),
        store,
        database: database(&config, global)?,
        notices: notices.map(ToString::to_string).collect(),
    })
}

fn words(shown: &Shown) -> String {
    let key = match &shown.key {
        Some(key) => format!("read from {key}"),
        None => "no section names it: Anchore's default".to_owned(),
    };
    let table = |lines: &[Line]| {
        let rows: Vec<_> = lines.iter().map(Line::cells).collect();
        format::table(&["setting", "value", "from"], &rows)
    };
    let mut words = vec![
        format!("{}: {} {}", shown.config, shown.section, shown.place),
        key,
    ];
    words.extend(shown.notices.iter().map(|notice| format!("note: {notice}")));
    words.extend([String::new(), table(&shown.store), String::new()]);
    words.push(match shown.database.is_empty() {
        true => "no database is named: --db-connect URL would".to_owned(),
        false => format!("the database\n{}", table(&shown.database)),
    });
    words.join("\n")
}

/// Where the database's URL is from, as a whole.
struct Named {
    origin: Line,
    /// As it is named there.
    url: DatabaseUrl,
}

fn database(config: &ConfigFile, global: &Global) -> anyhow::Result<Vec<Line>> {
    let url = match connect::database_url(global, Some(config)) {
        Ok(url) => url,
        Err(error) if fault::code(&error) == fault::Code::NoDatabaseNamed => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let named = named(config, global)?;
    let from = |value: Option<String>, name: &str| Line {
        name: name.to_owned(),
        from: match value {
            Some(_) => named.origin.from,
            None => "default",
        },
        variables: match value {
            Some(_) => named.origin.variables.clone(),
            None => Vec::new(),
        },
        value,
    };
    let options = connect::connect_options(global, &url);
    let mut lines = vec![from(Some(url.redacted()), "url")];
    if let DatabaseUrl::Postgres(postgres) = &url {
        let hosts = postgres.hosts();
        let ports = hosts.iter().map(|h| h.port.map(|port| port.to_string()));
        let names = hosts.iter().map(|h| h.host.clone());
        lines.extend([
            from(list(names), "host"),
            Line {
                value: Some(list(ports.clone()).unwrap_or_else(|| "5432".into())),
                ..from(list(ports), "port")
            },
            from(Some(postgres.database.clone()), "name"),
            from(postgres.user.clone(), "user"),
            password(&url, &named, from(None, "password")),
            ssl_mode(config, global, postgres, from(None, "sslmode")),
        ]);
    }
    lines.extend(limits(global, &options));
    Ok(lines)
}

fn named(config: &ConfigFile, global: &Global) -> anyhow::Result<Named> {
    if let Some((text, from)) = connect::given_url(global) {
        let origin = match from {
            "--db-connect" => "option",
            _ => "environment",
        };
        return Ok(Named {
            url: DatabaseUrl::parse(&text)?,
            origin: Line {
                from: origin,
                ..Line::new(from, None, &Origin::File)
            },
        });
    }
    let configured = config.database()?.unwrap_or_default();
    let key = match (&configured.connect, &configured.host) {
        (Some(_), _) => "db_connect",
        (None, Some(_)) => "host",
        (None, None) => "name",
    };
    let origin = config.origin(&["credentials", "database", key])?;
    Ok(Named {
        url: DatabaseUrl::configured(&configured)?,
        origin: Line::new(key, None, &origin),
    })
}

fn list(items: impl Iterator<Item = Option<String>>) -> Option<String> {
    let items: Vec<_> = items.flatten().collect();
    (!items.is_empty()).then(|| items.join(","))
}

fn password(url: &DatabaseUrl, named: &Named, line: Line) -> Line {
    let value = url.password().map(|password| password.to_string());
    let (from, variables) = match (named.url.password(), &value) {
        (Some(_), _) => (named.origin.from, named.origin.variables.clone()),
        (None, Some(_)) => ("environment", vec!["PGPASSWORD".to_owned()]),
        (None, None) => ("default", Vec::new()),
    };
    Line {
        value,
        from,
        variables,
        ..line
    }
}

/// The mode that is asked for, raised where TLS is demanded.
fn ssl_mode(config: &ConfigFile, global: &Global, url: &PostgresUrl, line: Line) -> Line {
    let arguments = ["credentials", "database", "db_connect_args", "sslmode"];
    let written = config.origin(&arguments).unwrap_or(Origin::Default);
    let from_environment = std::env::var("PGSSLMODE")
        .ok()
        .filter(|mode| !mode.is_empty());
    let line = match (url.ssl_mode, from_environment) {
        (Some(mode), _) => Line::new(
            &line.name,
            Some(mode.name().into()),
            match written {
                Origin::Default => &Origin::File,
                ref written => written,
            },
        ),
        (None, Some(mode)) => Line::new(
            &line.name,
            Some(mode),
            &Origin::Variables(vec!["PGSSLMODE".into()]),
        ),
        (None, None) => Line {
            value: Some(SslMode::Prefer.name().into()),
            ..line
        },
    };
    let is_weak = ["disable", "allow", "prefer"].map(Some);
    match global.db_use_ssl && is_weak.contains(&line.value.as_deref()) {
        true => {
            of_option("db-use-ssl", Some(SslMode::Require.name().into()), false).named("sslmode")
        }
        false => line,
    }
}

impl Line {
    fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }
}

fn limits(global: &Global, options: &ConnectOptions) -> Vec<Line> {
    let seconds = |limit: std::time::Duration| Some(format!("{} s", limit.as_secs()));
    let given = (
        global.db_connect_timeout != 120,
        global.db_timeout != 30,
        global.db_retries != 1,
    );
    vec![
        of_option(
            "db-connect-timeout",
            seconds(options.connect_timeout),
            !given.0,
        ),
        of_option(
            "db-timeout",
            options.statement_timeout.and_then(seconds),
            !given.1,
        ),
        of_option("db-retries", Some(options.retries.to_string()), !given.2),
        Line::new(
            "connections",
            Some(format!("{} at most", options.max_connections)),
            &Origin::Default,
        ),
    ]
}

/// An option of the command line, which may stand in the environment.
fn of_option(long: &str, value: Option<String>, is_default: bool) -> Line {
    let variable = variable(long);
    let is_set = std::env::var_os(&variable).is_some_and(|value| !value.is_empty());
    let from = match (is_default, is_set) {
        (true, _) => "default",
        (false, true) => "environment",
        (false, false) => "option",
    };
    Line {
        from,
        ..Line::new(long, value, &Origin::Default)
    }
}
