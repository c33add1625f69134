//! What a process costs, from `/proc`: CPU time and resident memory.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// A process's cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was read.
    pub(crate) at: Instant,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// Resident memory, KiB.
    pub(crate) resident: u64,
}

impl Sample {
    /// Reads the cost of process `pid`, in words for messages `whose`.
    pub(crate) fn of(pid: u32, whose: &str) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("{whose} {pid}: no such process ({path})"))
        };
        let ticks = cpu_ticks(&read("stat")?).with_context(|| format!("/proc/{pid}/stat has another format"))?;
        let resident = resident(&read("status")?).with_context(|| format!("/proc/{pid}/status has no VmRSS"))?;
        let per_second = rustix::param::clock_ticks_per_second();
        let cpu = Duration::from_millis(ticks.saturating_mul(1000) / per_second.max(1));
        Ok(Self { at: Instant::now(), cpu, resident })
    }

    /// The cost of two processes together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let (cpu, resident) = (self.cpu.saturating_add(other.cpu), self.resident.saturating_add(other.resident));
        Self { at: self.at.max(other.at), cpu, resident }
    }

    /// The cost of this tool.
    pub(crate) fn of_this_tool() -> Result<Self> {
        Self::of(std::process::id(), "this process")
    }

    /// Cores kept busy since `earlier`: 1.0 is one whole core.
    pub(crate) fn cores_since(&self, earlier: &Self) -> f64 {
        let passed = self.at.duration_since(earlier.at).as_secs_f64();
        let cpu = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        if passed > 0.0 { cpu / passed } else { 0.0 }
    }
}

/// User and system clock ticks in `/proc/PID/stat`. The second field is a name in parentheses that may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// KiB of resident memory in `/proc/PID/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_that_looks_like_fields() {
        let stat = "7 (a) b (1 2 3) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 4 0 100 1000 200 9";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a) S 1 2 3"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn resident_memory_is_one_line_among_many() {
        let status = "Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t   812 kB\nThreads:\t4\n";
        assert_eq!(resident(status), Some(812));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn cores_are_cpu_time_over_time() {
        let at = Instant::now();
        let early = Sample { at, cpu: Duration::from_secs(10), resident: 0 };
        let late = Sample { at: at + Duration::from_secs(4), cpu: Duration::from_secs(16), resident: 0 };
        assert!((late.cores_since(&early) - 1.5).abs() < 1e-9);
        assert!(early.cores_since(&early).abs() < 1e-9);
    }

    #[test]
    fn this_process_can_be_read_and_one_that_is_not_there_is_named() {
        let sample = Sample::of_this_tool().unwrap();
        assert!(sample.resident > 0);
        let error = Sample::of(u32::MAX, "--pid").unwrap_err();
        assert!(format!("{error:#}").contains("--pid 4294967295: no such process"), "{error:#}");
    }
}
