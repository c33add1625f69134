//! `[drain]`: how the process ends.

use std::time::Duration;

use causeway_compute::drain::{Goodbye, Pace, Reason};
use serde::{Deserialize, Serialize};

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long an orderly end may take; whoever is connected then is dropped.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Clients that are asked to go each second. More where the deadline asks for it: all are asked within four fifths.
    pub rate: u32,
    /// What they are told, where their protocol has words for it.
    pub reason: Reason,
    /// Where to go instead, `host:port`; only with a reason that speaks of another server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Default for Drain {
    /// Of a gateway: there are others.
    fn default() -> Self {
        Self { deadline: Duration::from_secs(20), rate: 500, reason: Reason::UseAnotherServer, reference: None }
    }
}

impl Drain {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("drain.{problem}"));
            }
        };
        must(self.rate > 0, "rate: at least 1");
        let place = self.reference.as_deref().is_none_or(super::is_place);
        must(place, "reference: host:port, such as eu-2.example:1883");
        must(
            self.reference.is_none() || self.reason != Reason::ShuttingDown,
            "reference: only with reason \"use-another-server\" or \"server-moved\"",
        );
        problems
    }

    /// How fast clients are asked to go.
    pub fn pace(&self) -> Pace {
        Pace { rate: self.rate, deadline: self.deadline }
    }

    /// What they are told.
    pub fn goodbye(&self) -> Goodbye {
        Goodbye { reason: self.reason, reference: self.reference.as_deref().map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_place_and_goes_only_with_a_reason_that_speaks_of_another_server() {
        for (reason, reference, problems) in [
            (Reason::UseAnotherServer, Some("b.example:1883"), 0),
            (Reason::ServerMoved, Some("[::1]:1883"), 0),
            (Reason::ServerMoved, None, 0),
            (Reason::ShuttingDown, None, 0),
            (Reason::ShuttingDown, Some("b.example:1883"), 1),
            (Reason::UseAnotherServer, Some("b.example"), 1),
            (Reason::UseAnotherServer, Some(":1883"), 1),
            (Reason::UseAnotherServer, Some("b c:1883"), 1),
            (Reason::UseAnotherServer, Some("b:0"), 1),
            (Reason::ShuttingDown, Some("b"), 2),
        ] {
            let drain = Drain { reason, reference: reference.map(str::to_owned), ..Drain::default() };
            let found = drain.validate();
            assert_eq!(found.len(), problems, "{reason:?} {reference:?}: {found:?}");
            assert!(found.iter().all(|problem| problem.starts_with("drain.reference: ")));
        }
        assert_eq!(Drain { rate: 0, ..Drain::default() }.validate(), ["drain.rate: at least 1"]);
    }

    #[test]
    fn it_is_read_as_it_is_printed() {
        let text = "deadline = \"1m\"\nrate = 7\nreason = \"server-moved\"\nreference = \"b:1883\"\n";
        let drain: Drain = toml::from_str(text).unwrap();
        assert_eq!((drain.deadline, drain.rate, drain.reason), (Duration::from_mins(1), 7, Reason::ServerMoved));
        assert_eq!(toml::to_string(&drain).unwrap(), text);
    }
}
