//! Values of the YAML tree, read as PyYAML (YAML 1.1) would: the only place that
//! knows serde_yaml.
//!
//! One difference cannot be seen from here: serde_yaml gives a plain `yes` and a
//! quoted `"yes"` as the same string. Where a truth value is wanted both are taken
//! as true; PyYAML would read the quoted one as a string.

use std::path::Path;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess as _,
    Visitor,
};
pub(super) use serde_yaml::Value;

use super::ConfigError;
use super::substitute::{Unset, unset_in};
use super::yaml_words::explained;

/// What a tree may take of memory, about: a hundred times what Anchore's own file does.
const VALUES_MAX_BYTES: usize = 32 << 20;
/// A value beside its letters, with its place in a mapping.
const VALUE_BYTES: usize = 160;

/// Parses a text, with merge keys (`<<`) applied.
///
/// # Errors
/// The parser's reason, without the text between quotes in it: after substitution
/// that may be a secret.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    measure(text).map_err(|error| reason(&error))?;
    let mut value: Value = serde_yaml::from_str(text).map_err(|error| reason(&error))?;
    value.apply_merge().map_err(|error| reason(&error))?;
    Ok(value)
}

/// A text as a scalar of one line, quoted where YAML (1.1, too) would read it as something else.
pub(super) fn scalar_text(text: &str) -> Option<String> {
    if truth(text).is_some() || whole_yaml_1_1(text).is_some() {
        return Some(format!("'{text}'"));
    }
    // A line break comes out as a block; as JSON has it, it is YAML on one line.
    match text.contains(['\n', '\r']) {
        true => serde_json::to_string(text).ok(),
        false => Some(serde_yaml::to_string(text).ok()?.trim_end().to_owned()),
    }
}

/// Refuses a text whose values take far more memory than its letters: an alias is a copy of what
/// it names, and a few lines of them can name each other into gigabytes.
fn measure(text: &str) -> Result<(), serde_yaml::Error> {
    let mut left = VALUES_MAX_BYTES;
    Measure(&mut left).deserialize(serde_yaml::Deserializer::from_str(text))
}

/// Goes through values without keeping them, and counts down what keeping them would take.
struct Measure<'m>(&'m mut usize);

impl Measure<'_> {
    fn take<E: de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        // Beside its letters each value has a place in the tree.
        let left = self.0.checked_sub(bytes.saturating_add(VALUE_BYTES));
        *self.0 = left.ok_or_else(|| E::custom("its aliases make too much of it"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Measure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Measure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(mut self, _: bool) -> Result<(), E> {
        self.take(0)
    }

    fn visit_i64<E: de::Error>(mut self, _: i64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_u64<E: de::Error>(mut self, _: u64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_f64<E: de::Error>(mut self, _: f64) -> Result<(), E> {
        self.take(0)
    }

    fn visit_unit<E: de::Error>(mut self) -> Result<(), E> {
        self.take(0)
    }

    /// An empty text.
    fn visit_none<E: de::Error>(mut self) -> Result<(), E> {
        self.take(0)
    }

    fn visit_str<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        self.take(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.take(0)?;
        while items.next_element_seed(Measure(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.take(0)?;
        while entries.next_key_seed(Measure(self.0))?.is_some() {
            entries.next_value_seed(Measure(self.0))?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(mut self, tagged: A) -> Result<(), A::Error> {
        self.take(0)?;
        let ((), value) = tagged.variant_seed(Measure(self.0))?;
        value.newtype_variant_seed(self)
    }
}

fn reason(error: &serde_yaml::Error) -> String {
    let said = error.to_string();
    // Only a key is quoted in this one, and it is what one needs to know.
    let said = match said.contains("duplicate entry with key") {
        true => said,
        false => said.split('"').step_by(2).collect::<Vec<_>>().join("…"),
    };
    if let Some(sentence) = explained(&said) {
        return match error.location() {
            Some(at) => format!("line {}, column {}: {sentence}", at.line(), at.column()),
            None => sentence.to_owned(),
        };
    }
    match error.location() {
        Some(at) if !said.contains(" line ") => format!("{said} at line {}", at.line()),
        _ => said,
    }
}

/// A place in the tree: its value, if there is one, and how to name it.
#[derive(Clone)]
pub(super) struct Node<'a> {
    file: &'a Path,
    pub(super) key: String,
    value: Option<&'a Value>,
}

impl<'a> Node<'a> {
    /// The root of a file.
    pub(super) fn root(file: &'a Path, value: &'a Value) -> Self {
        Self {
            file,
            key: String::new(),
            value: Some(value),
        }
    }

    /// What stands under `name`; absent where this is absent or null.
    pub(super) fn get(&self, name: &str) -> Result<Node<'a>, ConfigError> {
        let value = match self.value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(mapping)) => mapping.get(name),
            Some(_) => return Err(self.wrong("a mapping")),
        };
        let key = match self.key.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.key),
        };
        Ok(Self {
            file: self.file,
            key,
            value,
        })
    }

    /// What stands under `name`, which must be there.
    pub(super) fn require(
        &self,
        name: &str,
        expected: &'static str,
    ) -> Result<Node<'a>, ConfigError> {
        let node = self.get(name)?;
        match node.is_absent() {
            true => Err(node.missing(expected)),
            false => Ok(node),
        }
    }

    /// No such key, or null.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.value, None | Some(Value::Null))
    }

    /// What Python calls false: absent, null, false, zero, or empty.
    pub(super) fn is_falsy(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => true,
            Some(Value::Bool(value)) => !value,
            Some(Value::Number(number)) => number.as_f64() == Some(0.0),
            Some(Value::String(text)) => text.is_empty() || truth(text) == Some(false),
            Some(Value::Sequence(items)) => items.is_empty(),
            Some(Value::Mapping(mapping)) => mapping.is_empty(),
            Some(Value::Tagged(_)) => false,
        }
    }

    /// The names of the keys under this one; none where it is absent.
    pub(super) fn names(&self) -> Result<Vec<String>, ConfigError> {
        match self.value {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Mapping(mapping)) => Ok(mapping
                .keys()
                .map(|key| {
                    key.as_str()
                        .unwrap_or("(a key that is no string)")
                        .to_owned()
                })
                .collect()),
            Some(_) => Err(self.wrong("a mapping")),
        }
    }

    /// The variables without a value in all that stands here.
    pub(super) fn unset(&self) -> Vec<Unset> {
        let mut found = Vec::new();
        if let Some(value) = self.value {
            gather_unset(value, &mut found);
        }
        found
    }

    /// A string; `None` where absent, null, false or empty, which Anchore's own
    /// configuration writes for "not given".
    pub(super) fn string(&self) -> Result<Option<String>, ConfigError> {
        match self.value {
            None | Some(Value::Null | Value::Bool(false)) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(_) | Value::Bool(true)) => {
                Err(self.wrong("a string: put quotes round it"))
            }
            Some(_) => Err(self.wrong("a string")),
        }
    }

    /// A string that must be there and not empty.
    pub(super) fn required_string(&self, expected: &'static str) -> Result<String, ConfigError> {
        self.string()?.ok_or_else(|| self.missing(expected))
    }

    /// Any scalar as text, for options that are handed on by name.
    pub(super) fn scalar(&self) -> Result<Option<String>, ConfigError> {
        match self.value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Bool(value)) => Ok(Some(value.to_string())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong("a string, a number or true or false")),
        }
    }

    /// A truth value; `None` where absent.
    pub(super) fn flag(&self) -> Result<Option<bool>, ConfigError> {
        match self.value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) => match truth(text) {
                Some(value) => Ok(Some(value)),
                None => Err(self.wrong("true or false, without quotes")),
            },
            Some(_) => Err(self.wrong("true or false")),
        }
    }

    /// A whole number that is not negative; `None` where absent.
    pub(super) fn whole(&self) -> Result<Option<u64>, ConfigError> {
        const EXPECTED: &str = "a whole number, 0 or more";
        let read = match self.value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => whole_yaml_1_1(text),
            Some(_) => None,
        };
        read.map(Some).ok_or_else(|| self.wrong(EXPECTED))
    }

    /// The type that stands here, in words.
    pub(super) fn found(&self) -> &'static str {
        match self.value {
            None | Some(Value::Null) => "nothing",
            Some(Value::Bool(_)) => "true or false",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a string",
            Some(Value::Sequence(_)) => "a list",
            Some(Value::Mapping(_)) => "a mapping",
            Some(Value::Tagged(_)) => "a tagged value",
        }
    }

    pub(super) fn wrong(&self, expected: &'static str) -> ConfigError {
        let file = self.file.to_owned();
        let key = match self.key.is_empty() {
            true => "(the whole file)".to_owned(),
            false => self.key.clone(),
        };
        ConfigError::WrongType {
            file,
            key,
            found: self.found(),
            expected,
        }
    }

    pub(super) fn unknown_driver(&self, name: String) -> ConfigError {
        let file = self.file.to_owned();
        ConfigError::UnknownDriver {
            file,
            key: self.key.clone(),
            name,
        }
    }

    pub(super) fn missing(&self, expected: &'static str) -> ConfigError {
        let file = self.file.to_owned();
        ConfigError::Missing {
            file,
            key: self.key.clone(),
            expected,
        }
    }
}

fn gather_unset(value: &Value, found: &mut Vec<Unset>) {
    match value {
        Value::String(text) => found.extend(unset_in(text)),
        Value::Sequence(items) => items.iter().for_each(|item| gather_unset(item, found)),
        Value::Mapping(mapping) => mapping.values().for_each(|item| gather_unset(item, found)),
        Value::Tagged(tagged) => gather_unset(&tagged.value, found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The truth values of YAML 1.1 that serde_yaml leaves as strings. `"true"` is not
/// among them: a string `true` can only have been quoted.
fn truth(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Whole numbers of YAML 1.1 that serde_yaml leaves as strings: `1_000`, `0100`.
fn whole_yaml_1_1(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    match digits.strip_prefix('0') {
        Some(octal) if text.starts_with('0') && !octal.is_empty() => {
            u64::from_str_radix(octal, 8).ok()
        }
        _ if text.contains('_') => digits.parse().ok(),
        _ => None,
    }
}
