//! What one process used, and the line in which it says so.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;

/// What a program did and what it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_mib: f64,
    pub(crate) requests: u64,
    /// Of the database, where it has a server.
    #[serde(default)]
    pub(crate) server_cpu_seconds: f64,
}

impl Figures {
    /// What this process has used up to now.
    pub(crate) fn of(records: u64, elapsed: Duration, requests: u64) -> Result<Self> {
        Ok(Self {
            records,
            seconds: elapsed.as_secs_f64(),
            cpu_seconds: cpu_seconds()?,
            peak_mib: peak_mib()?,
            requests,
            server_cpu_seconds: 0.0,
        })
    }

    pub(crate) fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// The most memory this process ever held, MiB.
fn peak_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

/// Processor time of all threads, seconds (user and system; 100 ticks a second on Linux).
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}
