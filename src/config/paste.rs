//! A store section as YAML to paste into another file: what the file itself has written, with
//! variables as `${…}` and secrets as stars.
//!
//! The text is parsed with each variable as a word of its own, so that what comes out is what was
//! written and not what the environment made of it.

use super::EndpointUrl;
use super::substitute::next_variable;
use super::value::{self, Value};

/// Options that name a place or a way and keep no secret. Whatever is not among them prints as
/// stars: a new option of a library might be a password.
const OPEN_OPTIONS: &[&str] = &[
    "anchore_key_prefix",
    "archive_data_dir",
    "auth_type",
    "auth_version",
    "bucket",
    "cacert",
    "cert",
    "compression",
    "config",
    "container",
    "create_bucket",
    "create_container",
    "enabled",
    "iamauto",
    "insecure",
    "min_size_kbytes",
    "name",
    "os_auth_type",
    "os_cacert",
    "os_cert",
    "os_endpoint_type",
    "os_identity_api_version",
    "os_key",
    "os_project_domain_id",
    "os_project_domain_name",
    "os_project_id",
    "os_project_name",
    "os_region_name",
    "os_service_type",
    "os_tenant_id",
    "os_tenant_name",
    "os_user_domain_id",
    "os_user_domain_name",
    "os_user_id",
    "os_username",
    "prefix",
    "region",
    "retries",
    "storage_driver",
    "timeout",
    "url",
    "user",
];

/// Options whose value is a URL, in which a login or a token can stand.
const URLS: &[&str] = &["auth", "os_auth_url", "os_storage_url", "url"];

const STARS: &str = "'***'";

/// A variable of the text, and the quotes that it stands in.
struct Variable {
    name: String,
    quote: Option<char>,
}

/// What stands under `services.catalog.NAME`, as YAML with `NAME:` as its first line; `None`
/// where that can't be told.
pub(super) fn section(text: &str, name: &str) -> Option<String> {
    let (text, variables) = with_words(text);
    let root = value::parse(&text).ok()?;
    let section = root.get("services")?.get("catalog")?.get(name)?;
    let mut yaml = String::new();
    write_entry(&mut yaml, 0, name, section, true, &variables)?;
    Some(yaml)
}

/// An option's value as it may be shown.
pub(super) fn shown(option: &str, value: &str) -> String {
    match (URLS.contains(&option), OPEN_OPTIONS.contains(&option)) {
        (true, _) => EndpointUrl::new(value).redacted(),
        (false, true) => value.to_owned(),
        (false, false) => "***".to_owned(),
    }
}

/// The names of the variables in the value under a path of keys, as it was written; none where there
/// are none, or the text can't be read without their values.
pub(super) fn variables_at(text: &str, path: &[&str]) -> Vec<String> {
    let (text, variables) = with_words(text);
    let Ok(root) = value::parse(&text) else {
        return Vec::new();
    };
    let found = path.iter().try_fold(&root, |at, key| at.get(*key));
    let Some(Value::String(written)) = found else {
        return Vec::new();
    };
    let numbered = variables.into_iter().enumerate();
    let named = numbered.filter(|(number, _)| written.contains(&word(*number)));
    named.map(|(_, variable)| variable.name).collect()
}

/// The text with a word in the place of each variable.
fn with_words(text: &str) -> (String, Vec<Variable>) {
    let mut words = String::with_capacity(text.len());
    let mut variables = Vec::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_variable(rest) {
        words.push_str(before);
        let line = &text[..text.len() - rest.len() + before.len()];
        let line = line.rsplit('\n').next().unwrap_or_default();
        words.push_str(&word(variables.len()));
        variables.push(Variable {
            name: name.to_owned(),
            quote: open_quote(line),
        });
        rest = after;
    }
    (words + rest, variables)
}

/// A word that stands for a variable, and is in no configuration otherwise.
fn word(number: usize) -> String {
    format!("windlassVariable{number}x")
}

/// The quote that is still open where a line has come so far.
fn open_quote(line: &str) -> Option<char> {
    let mut open = None;
    let mut previous = ' ';
    for char in line.chars() {
        match open {
            Some(quote) if char == quote => open = None,
            Some(_) => {}
            None if matches!(char, '"' | '\'') && " \t[{,:-".contains(previous) => {
                open = Some(char);
            }
            None => {}
        }
        previous = char;
    }
    open
}

/// One key with what stands under it. `is_open`: whether the key is one that may be shown.
fn write_entry(
    yaml: &mut String,
    indent: usize,
    key: &str,
    value: &Value,
    is_open: bool,
    variables: &[Variable],
) -> Option<()> {
    *yaml += &format!("{:indent$}{}:", "", plain(key)?);
    match value {
        Value::Mapping(entries) if !entries.is_empty() && is_open => {
            yaml.push('\n');
            for (key, value) in entries {
                let key = key.as_str()?;
                let is_open = OPEN_OPTIONS.contains(&key) || URLS.contains(&key);
                write_entry(yaml, indent + 2, key, value, is_open, variables)?;
            }
        }
        _ => *yaml += &format!(" {}\n", scalar(key, value, is_open, variables)?),
    }
    Some(())
}

fn scalar(key: &str, value: &Value, is_open: bool, variables: &[Variable]) -> Option<String> {
    match value {
        Value::String(text) => {
            if let Some(written) = of_variables(text, is_open, variables) {
                return Some(written);
            }
            if !is_open {
                return Some(STARS.into());
            }
            match URLS.contains(&key) {
                true => plain(&EndpointUrl::new(text.as_str()).redacted()),
                false => plain(text),
            }
        }
        Value::Null => Some("null".into()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if is_open => Some(number.to_string()),
        Value::Mapping(entries) if entries.is_empty() => Some("{}".into()),
        _ => Some(STARS.into()),
    }
}

/// A value with variables in it, as it was written; `None` where there are none. Where the option
/// may hold a secret, what stands beside the variables is not shown.
fn of_variables(text: &str, is_open: bool, variables: &[Variable]) -> Option<String> {
    let (mut written, mut quote) = (text.to_owned(), None);
    let mut beside = text.to_owned();
    // The later ones first: the word of number 1 is no part of that of number 10, but be sure.
    for (number, variable) in variables.iter().enumerate().rev() {
        let word = word(number);
        if written.contains(&word) {
            written = written.replace(&word, &format!("${{{}}}", variable.name));
            beside = beside.replace(&word, "");
            quote = quote.or(variable.quote);
        }
    }
    if written == text {
        return None;
    }
    if !beside.is_empty() && (!is_open || beside.contains(['@', '?', '\n', '\'', '"', '\\'])) {
        return Some(STARS.into());
    }
    let quote = quote.map(String::from).unwrap_or_default();
    Some(format!("{quote}{written}{quote}"))
}

/// A text as a YAML scalar on one line.
fn plain(text: &str) -> Option<String> {
    value::scalar_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
services:
  catalog:
    enabled: true
    object_store:
      compression: {enabled: true, min_size_kbytes: 100}
      storage_driver:
        name: s3
        config:
          access_key: hunter2-access
          secret_key: \"${ANCHORE_SECRET}\"
          token: ${ANCHORE_TOKEN}
          url: http://hunter2-user:hunter2-pw@s3.example:8333
          region: null
          bucket: '${ANCHORE_BUCKET}-archive'
          prefix: 'yes'
          create_bucket: true
          password: hunter2
          unknown: [hunter2]
          another: {hunter2: hunter2}
";

    #[test]
    fn variables_stay_and_secrets_are_stars() {
        let expected = "\
object_store:
  compression:
    enabled: true
    min_size_kbytes: 100
  storage_driver:
    name: s3
    config:
      access_key: '***'
      secret_key: \"${ANCHORE_SECRET}\"
      token: ${ANCHORE_TOKEN}
      url: http://***@s3.example:8333
      region: null
      bucket: '${ANCHORE_BUCKET}-archive'
      prefix: 'yes'
      create_bucket: true
      password: '***'
      unknown: '***'
      another: '***'
";
        assert_eq!(section(FILE, "object_store").as_deref(), Some(expected));
        assert_eq!(section(FILE, "analysis_archive"), None);
    }

    #[test]
    fn a_secret_beside_a_variable_is_not_shown() {
        let text = FILE.replace("${ANCHORE_TOKEN}", "hunter2${ANCHORE_TOKEN}");
        let yaml = section(&text, "object_store").unwrap();
        assert!(yaml.contains("token: '***'\n"), "{yaml}");
        assert!(!yaml.contains("hunter2"), "{yaml}");
    }

    #[test]
    fn what_is_pasted_reads_as_the_same_store() {
        let file = "services: {catalog: {object_store: &a {storage_driver: {name: localfs, config: \
                    {archive_data_dir: '/data: #1'}}}, analysis_archive: *a}}";
        let yaml = section(file, "analysis_archive").unwrap();
        let indented = yaml.replace('\n', "\n    ");
        let pasted = format!("services:\n  catalog:\n    {indented}");
        assert_eq!(section(&pasted, "analysis_archive"), Some(yaml));
        assert!(pasted.contains("archive_data_dir: '/data: #1'"), "{pasted}");
    }
}
