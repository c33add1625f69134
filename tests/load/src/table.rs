//! Reports of several servers side by side, in Markdown.
//!
//! Two parts: the figures that are compared, each server beside the base with *how many times as good* the base is
//! (above 1 the base is better, whether more or less of it is better); then everything that was reported.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::args::Table;
use crate::report::{Better, Figure, Report};

/// Reads the reports and prints the tables.
pub(crate) fn run(args: &Table) -> Result<String> {
    let path = args.results.display();
    let text = std::fs::read_to_string(&args.results).with_context(|| format!("reading {path}"))?;
    let mut reports = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let report: Report = serde_json::from_str(line).with_context(|| format!("{path}, line {}", index + 1))?;
        reports.push(report);
    }
    Ok(tables(&reports, &args.base))
}

/// Distinct values in the order in which they first occur.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

fn tables(reports: &[Report], base: &str) -> String {
    let titles = distinct(reports.iter().map(|report| report.title.as_str()));
    let mut servers = distinct(reports.iter().map(|report| report.server.as_str()));
    // The base first, the rest as they came: sorting by a flag is stable.
    servers.sort_by_key(|server| *server != base);
    let mut text = comparison(reports, &titles, &servers, base);
    text.push_str("\n## All figures\n");
    for title in &titles {
        let found: Vec<_> = reports.iter().filter(|report| report.title == *title).collect();
        text.push_str(&details(title, &found));
    }
    text.push_str(&failures(reports));
    text
}

/// One row for each figure that is compared; servers without any are left out.
fn comparison(reports: &[Report], titles: &[&str], servers: &[&str], base: &str) -> String {
    let compared = |server: &str| {
        reports.iter().any(|report| report.server == server && report.figures.iter().any(|f| f.better.is_some()))
    };
    let servers: Vec<_> = servers.iter().copied().filter(|server| compared(server)).collect();
    let mut text = format!("| | {} |\n|---|{}\n", servers.join(" | "), "---:|".repeat(servers.len()));
    for title in titles {
        let of_title = || reports.iter().filter(|report| report.title == *title);
        let figures = of_title().flat_map(|report| &report.figures).filter(|figure| figure.better.is_some());
        for name in distinct(figures.map(|figure| figure.name.as_str())) {
            let figure = |server: &str| last(reports, title, server)?.figures.iter().find(|f| f.name == name);
            let _ = write!(text, "| {title}: {name} |");
            for server in &servers {
                let cell = match figure(server) {
                    Some(found) if *server == base => format!("**{}**", found.text()),
                    Some(found) => format!("{}{}", found.text(), times(figure(base), found)),
                    None if last(reports, title, server).is_some() => "failed".to_owned(),
                    None => "–".to_owned(),
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
    }
    text
}

/// The newest report: a run that was repeated counts once.
fn last<'a>(reports: &'a [Report], title: &str, server: &str) -> Option<&'a Report> {
    reports.iter().rev().find(|report| report.title == title && report.server == server)
}

/// How many times as good the base is, if that can be said.
fn times(base: Option<&Figure>, other: &Figure) -> String {
    let Some(base) = base else { return String::new() };
    let (dividend, divisor) = match other.better {
        Some(Better::More) => (base.value, other.value),
        Some(Better::Less) => (other.value, base.value),
        None => return String::new(),
    };
    if dividend > 0.0 && divisor > 0.0 { format!(" ({:.2}×)", dividend / divisor) } else { String::new() }
}

/// A table of everything that was reported under one title.
fn details(title: &str, found: &[&Report]) -> String {
    let names = distinct(found.iter().flat_map(|report| &report.figures).map(|figure| figure.name.as_str()));
    if names.is_empty() {
        return String::new();
    }
    let mut text = format!("\n### {title}\n\n| | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()));
    for report in found.iter().filter(|report| report.failed.is_none()) {
        let _ = write!(text, "| {} |", report.server);
        for name in &names {
            let figure = report.figures.iter().find(|figure| figure.name == *name);
            let _ = write!(text, " {} |", figure.map_or_else(|| "–".to_owned(), Figure::text));
        }
        text.push('\n');
    }
    text
}

fn failures(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        if let Some(reason) = &report.failed {
            let _ = writeln!(text, "- {}: {}: {reason}", report.server, report.title);
        }
    }
    if text.is_empty() { text } else { format!("\n## What failed\n\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(server: &str, title: &str, figures: Vec<Figure>) -> Report {
        Report { server: server.into(), title: title.into(), figures, failed: None }
    }

    fn rate(value: f64) -> Figure {
        Figure::new("delivered", value, "/s").compared(Better::More)
    }

    fn took(value: f64) -> Figure {
        Figure::new("p50", value, "ms").compared(Better::Less)
    }

    #[test]
    fn above_one_means_that_the_base_is_better_for_rates_and_for_times() {
        let reports = [
            report("peer", "t", vec![rate(50_000.0), took(4.0)]),
            report("causeway", "t", vec![rate(100_000.0), took(2.0)]),
        ];
        let text = tables(&reports, "causeway");
        assert!(text.starts_with("| | causeway | peer |\n|---|---:|---:|\n"), "{text}");
        assert!(text.contains("| t: delivered | **100,000/s** | 50,000/s (2.00×) |"), "{text}");
        assert!(text.contains("| t: p50 | **2 ms** | 4 ms (2.00×) |"), "{text}");
    }

    #[test]
    fn a_server_without_the_scenario_and_one_that_failed_it_are_told_apart() {
        let mut reports = vec![
            report("causeway", "t", vec![rate(1.0)]),
            report("causeway", "u", vec![rate(1.0)]),
            report("absent", "u", vec![rate(1.0)]),
            report("broken", "u", vec![rate(1.0)]),
            report("broken", "t", vec![]),
        ];
        reports[4].failed = Some("no QoS 2".into());
        let text = tables(&reports, "causeway");
        assert!(text.contains("| t: delivered | **1/s** | – | failed |"), "{text}");
        assert!(text.contains("- broken: t: no QoS 2\n"), "{text}");
    }

    #[test]
    fn without_the_base_there_are_figures_but_no_ratios() {
        let text = tables(&[report("peer", "t", vec![rate(1.5)])], "causeway");
        assert!(text.contains("| t: delivered | 1.50/s |"), "{text}");
        assert!(!text.contains('×'), "{text}");
    }

    #[test]
    fn figures_that_are_not_compared_are_in_the_details_alone() {
        let text = tables(&[report("peer", "t", vec![rate(2.0), Figure::new("tool", 0.5, "cores")])], "causeway");
        let (comparison, details) = text.split_once("## All figures").unwrap();
        assert!(!comparison.contains("cores") && details.contains("0.500 cores"), "{text}");
    }
}
