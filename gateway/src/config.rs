//! Configuration files, the same for every binary: one TOML file, typed, every key with a default; every problem is
//! reported at once, and an unknown key with the one that was probably meant.
//!
//! A file is laid over the defaults as TOML, so that a table may be given in part whatever its type's own default is.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Settings of a binary. `Default` is what holds without a file.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Dotted keys without a default: serializing the defaults does not show them. A table among them is taken whole.
    const OPTIONAL: &'static [&'static str];

    /// What the types cannot say. Every problem names its key.
    fn validate(&self) -> Vec<String>;
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}", file = file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no settings.
    #[error("{file} has {count}:\n  {list}", file = file.display(), count = count(problems), list = problems.join("\n  "))]
    File {
        /// Which.
        file: PathBuf,
        /// All that is wrong.
        problems: Vec<String>,
    },
    /// File and flags together are no settings.
    #[error("the settings have {count}:\n  {list}", count = count(problems), list = problems.join("\n  "))]
    Settings {
        /// All that is wrong.
        problems: Vec<String>,
    },
}

fn count(problems: &[String]) -> String {
    format!("{} problem{}", problems.len(), if problems.len() == 1 { "" } else { "s" })
}

/// The settings of a file, or the defaults, under the flags.
///
/// # Errors
/// Every problem at once.
pub fn load<S: Settings>(file: Option<&Path>, flags: impl FnOnce(&mut S)) -> Result<S, Error> {
    let mut settings = match file {
        None => S::default(),
        Some(file) => {
            let text = read(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
            parse(&text).map_err(|problems| Error::File { file: file.to_owned(), problems })?
        }
    };
    flags(&mut settings);
    let problems = settings.validate();
    if problems.is_empty() { Ok(settings) } else { Err(Error::Settings { problems }) }
}

/// The text of an operator's file.
///
/// # Errors
/// It cannot be read, or is no UTF-8.
#[expect(clippy::disallowed_methods, reason = "storage's file system is for data; this is the operator's own file")]
pub fn read(file: &Path) -> io::Result<String> {
    String::from_utf8(std::fs::read(file)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes settings of a configuration file's text.
///
/// # Errors
/// Every problem of the file, one a line: syntax, unknown keys, values of the wrong type, values out of range.
pub fn parse<S: Settings>(text: &str) -> Result<S, Vec<String>> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| vec![e.to_string()])?;
    let defaults = Table::try_from(S::default()).map_err(|e| vec![format!("the defaults: {e}")])?;
    let mut known: Vec<String> = S::OPTIONAL.iter().map(|key| (*key).to_owned()).collect();
    leaves(&defaults, &mut Vec::new(), S::OPTIONAL, &mut |path, _| known.push(path.join(".")));
    let (mut problems, mut good) = (Vec::new(), defaults.clone());
    leaves(&table, &mut Vec::new(), S::OPTIONAL, &mut |path, value| {
        let key = path.join(".");
        if !is_known(&known, &key) {
            return problems.push(unknown(&known, &key));
        }
        // Alone on top of the defaults, so that one bad value does not hide the next.
        let mut alone = defaults.clone();
        overlay(&mut alone, nested(path, value));
        match alone.try_into::<S>() {
            Ok(_) => overlay(&mut good, nested(path, value)),
            Err(e) => problems.push(format!("{key}: {}", e.message())),
        }
    });
    // What can be read is judged, whatever else cannot.
    let settings: S = good.try_into().map_err(|e: toml::de::Error| vec![e.message().to_owned()])?;
    problems.extend(settings.validate());
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// The settings as a file that [`parse`] reads back.
///
/// # Errors
/// A value that TOML cannot say.
pub fn print<S: Settings>(settings: &S) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(settings)
}

/// Whether it is a key, or a table of keys that is empty in the file.
fn is_known(known: &[String], key: &str) -> bool {
    known.iter().any(|other| other == key || other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

fn leaves<'a>(
    table: &'a Table,
    path: &mut Vec<&'a str>,
    whole: &[&str],
    visit: &mut impl FnMut(&[&'a str], &'a Value),
) {
    for (key, value) in table {
        path.push(key);
        match value.as_table() {
            Some(inner) if !inner.is_empty() && !whole.contains(&path.join(".").as_str()) => {
                leaves(inner, path, whole, visit);
            }
            _ => visit(path, value),
        }
        path.pop();
    }
}

fn nested(path: &[&str], leaf: &Value) -> Table {
    let [first, rest @ ..] = path else { return Table::new() };
    let value = if rest.is_empty() { leaf.clone() } else { Value::Table(nested(rest, leaf)) };
    Table::from_iter([((*first).to_owned(), value)])
}

/// Puts the upper table's values into the lower one, table by table.
fn overlay(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

fn unknown(known: &[String], key: &str) -> String {
    match nearest(known, key) {
        Some(meant) => format!("{key}: unknown key, did you mean {meant}?"),
        None => format!("{key}: unknown key"),
    }
}

/// The key that was probably meant: spelt nearly so, or so in another table.
fn nearest<'a>(known: &'a [String], key: &str) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let wrong = last(key);
    let far = |other: &str| {
        // The beginning of a key of the same table, or a key of another table.
        let begins = other.strip_prefix(key).is_some_and(|rest| rest.starts_with('_'));
        let elsewhere = if last(other) == wrong { 1 } else { usize::MAX };
        if begins { 0 } else { distance(key, other).min(elsewhere) }
    };
    // Tables too: the name of one may be what is wrong.
    let tables = known.iter().filter_map(|other| other.rsplit_once('.').map(|(table, _)| table));
    let near = known.iter().map(String::as_str).chain(tables).map(|other| (far(other), other));
    let (best, meant) = near.min_by_key(|(distance, _)| *distance)?;
    (best <= 1.max(wrong.chars().count() / 2)).then_some(meant)
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut below = vec![at + 1];
        for (column, pair) in row.windows(2).enumerate() {
            let &[replaced, removed] = pair else { continue };
            let inserted = below.last().copied().unwrap_or_default();
            let differs = usize::from(to.get(column) != Some(&letter));
            below.push((replaced + differs).min(removed + 1).min(inserted + 1));
        }
        row = below;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytesize::ByteSize;
    use serde::Deserialize;

    use super::*;
    use crate::{Drain, Mqtt};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pair: Option<Pair>,
        drain: Drain,
        mqtt: Mqtt,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        left: u8,
        right: u8,
    }

    impl Default for Example {
        fn default() -> Self {
            let drain = Drain { deadline: Duration::from_secs(7), ..Drain::default() };
            Self { name: "here".to_owned(), pair: None, drain, mqtt: Mqtt::default() }
        }
    }

    impl Settings for Example {
        const OPTIONAL: &'static [&'static str] = &["drain.reference", "mqtt.max_keep_alive", "pair"];

        fn validate(&self) -> Vec<String> {
            self.drain.validate()
        }
    }

    #[test]
    fn a_table_given_in_part_keeps_the_binarys_own_defaults() {
        let read: Example = parse("[drain]\nrate = 9\n[mqtt]\nbind = [\"127.0.0.1:0\"]").unwrap();
        assert_eq!((read.drain.rate, read.drain.deadline), (9, Duration::from_secs(7)));
        assert_eq!(read.mqtt.bind, ["127.0.0.1:0".parse::<SocketAddr>().unwrap()]);
        assert_eq!(read.mqtt.max_packet, Mqtt::default().max_packet);
        assert_eq!(parse::<Example>(""), Ok(Example::default()));
        assert_eq!(parse::<Example>("[mqtt]").as_ref(), Ok(&Example::default()));
        let printed = print(&read).unwrap();
        assert_eq!(parse::<Example>(&printed), Ok(read));
    }

    #[test]
    fn all_problems_are_reported_at_once_each_by_its_key_and_with_what_was_probably_meant() {
        let text = "
            nam = 'x'
            zzz = 1
            mqqt = {}
            max_packet = '1MiB'
            pair.left = 1
            [mqtt]
            max_pakcet = '1MiB'
            max_keep_alive = 'long'
            max_connect = '128KiB'
            [drain]
            rate = -1
        ";
        let problems = parse::<Example>(text).unwrap_err();
        let starts = [
            "drain.rate: ",
            "max_packet: unknown key, did you mean mqtt.max_packet?",
            "mqqt: unknown key, did you mean mqtt?",
            "mqtt.max_keep_alive: ",
            "mqtt.max_pakcet: unknown key, did you mean mqtt.max_packet?",
            "nam: unknown key, did you mean name?",
            "pair: missing field `right`",
            "zzz: unknown key",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert_eq!(problems[7], "zzz: unknown key");
        let range = "[drain]\nrate = 0\n[mqtt]\nmax = 1";
        let both = parse::<Example>(range).unwrap_err();
        assert!(
            matches!(&both[..], [key, range] if key.starts_with("mqtt.max: ") && range.starts_with("drain.rate: "))
        );
        assert!(both[0].starts_with("mqtt.max: unknown key, did you mean mqtt.max_"), "{both:?}");
        assert_eq!(parse::<Example>("[drain]\nrate = 0").unwrap_err(), ["drain.rate: at least 1"]);
        assert!(parse::<Example>("name = ").unwrap_err()[0].contains("TOML parse error"));
    }

    #[test]
    fn flags_win_over_the_file_and_are_checked_with_it() {
        let none = load::<Example>(None, |settings| settings.mqtt.max_packet = ByteSize::mib(2)).unwrap();
        assert_eq!(none.mqtt.max_packet, ByteSize::mib(2));
        let error = load::<Example>(None, |settings| settings.drain.rate = 0).unwrap_err();
        assert_eq!(error.to_string(), "the settings have 1 problem:\n  drain.rate: at least 1");
        let error = load::<Example>(Some(Path::new("/no/such/file")), |_| {}).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /no/such/file: "), "{error}");
    }

    #[test]
    fn distance_counts_single_letters() {
        for (from, to, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("", "ab", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (expected, expected), "{from} {to}");
        }
    }
}
