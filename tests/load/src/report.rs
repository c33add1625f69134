//! What one scenario found: a line for people, an object for tables.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// Where a report goes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Output {
    /// Append the report to this file, as one JSON object a line
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Name of the server in reports and tables
    #[arg(long, default_value = "server", value_name = "NAME")]
    label: String,
}

/// Which way a figure is to go. Figures that have it are compared in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// A rate.
    More,
    /// A time or a size.
    Less,
}

/// One number with its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: String,
    /// Whether tables compare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) better: Option<Better>,
}

impl Figure {
    /// A figure that is shown but not compared.
    pub(crate) fn new(name: &str, value: f64, unit: &str) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), better: None }
    }

    /// A number of things.
    pub(crate) fn count(name: &str, count: u64) -> Self {
        Self::new(name, float(count), "")
    }

    /// Things a second.
    pub(crate) fn rate(name: &str, count: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self::new(name, if seconds > 0.0 { float(count) / seconds } else { 0.0 }, "/s")
    }

    /// The same figure, compared in tables.
    pub(crate) fn compared(self, better: Better) -> Self {
        Self { better: Some(better), ..self }
    }

    /// The quantiles of a latency in milliseconds; none if nothing was counted.
    pub(crate) fn quantiles(prefix: &str, latency: &Latency) -> Vec<Self> {
        let Some(found) = latency.quantiles() else { return Vec::new() };
        [("p50", found.p50), ("p99", found.p99), ("p99.9", found.p999), ("max", found.max)]
            .map(|(name, took)| Self::new(format!("{prefix}{name}").trim(), took.as_secs_f64() * 1000.0, "ms"))
            .into()
    }

    /// The number and its unit, with as many digits as mean something.
    pub(crate) fn text(&self) -> String {
        let unit = match self.unit.as_str() {
            "" | "/s" => self.unit.clone(),
            unit => format!(" {unit}"),
        };
        format!("{}{unit}", number(self.value))
    }
}

/// `count` as a number for people; rounds above 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "figures are rounded to a few digits anyway")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A number with few digits: thousands grouped from a hundred up, decimals below.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (magnitude < 100.0 && value.fract() == 0.0) || magnitude >= 100.0 {
        return grouped(&format!("{value:.0}"));
    }
    if magnitude >= 10.0 {
        return format!("{value:.1}");
    }
    if magnitude >= 1.0 { format!("{value:.2}") } else { format!("{value:.3}") }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What one scenario found of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The server.
    pub(crate) server: String,
    /// The scenario with its parameters: equal titles are comparable.
    pub(crate) title: String,
    /// The figures, the most telling first.
    #[serde(default)]
    pub(crate) figures: Vec<Figure>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

impl Report {
    /// The one line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{:<20} {:<58}", self.server, self.title);
        for figure in &self.figures {
            let _ = write!(line, "  {} {}", figure.name, figure.text());
        }
        if let Some(reason) = &self.failed {
            let _ = write!(line, "  failed: {reason}");
        }
        line.push('\n');
        line
    }
}

impl Output {
    /// Records what a scenario found, failures too, and gives the line to print.
    pub(crate) fn write(&self, title: String, found: Result<Vec<Figure>>) -> Result<String> {
        let server = self.label.clone();
        let (figures, error) = match found {
            Ok(figures) => (figures, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let failed = error.as_ref().map(|error| format!("{error:#}"));
        let report = Report { server, title, figures, failed };
        if let Some(path) = &self.json {
            append(path, &report).with_context(|| format!("--json {}", path.display()))?;
        }
        match error {
            Some(error) => Err(error.context(report.title)),
            None => Ok(report.line()),
        }
    }
}

fn append(path: &Path, report: &Report) -> Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).open(path)?.write_all(&line)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (0.094_2, "0.094"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (999.6, "1,000"),
            (48_012.3, "48,012"),
            (1_234_567.0, "1,234,567"),
            (-1_234.5, "-1,234"),
            (-0.5, "-0.500"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_report_is_one_line_and_one_object() {
        let report = Report {
            server: "mosquitto".into(),
            title: "QoS 1".into(),
            figures: vec![
                Figure::rate("delivered", 96_024, Duration::from_secs(2)).compared(Better::More),
                Figure::new("p50", 3.95, "ms"),
                Figure::count("lost", 0),
            ],
            failed: None,
        };
        let line = report.line();
        assert!(line.starts_with("mosquitto            QoS 1  "), "{line}");
        assert!(line.ends_with("  delivered 48,012/s  p50 3.95 ms  lost 0\n"), "{line}");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn a_rate_over_no_time_is_none() {
        assert_eq!(Figure::rate("x", 5, Duration::ZERO).text(), "0/s");
    }

    #[test]
    fn quantiles_of_nothing_are_not_shown() {
        assert_eq!(Figure::quantiles("", &Latency::new().unwrap()), []);
    }
}
