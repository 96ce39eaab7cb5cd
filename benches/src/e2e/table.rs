//! What was measured, as a table of medians.

use std::collections::BTreeMap;

use super::program::Program;
use crate::figures::Figures;
use crate::place::Kind;

/// Measurements by database, records, case and program.
#[derive(Debug, Default)]
pub(super) struct Table {
    runs: BTreeMap<(Kind, u64, &'static str, &'static str), Vec<Figures>>,
}

impl Table {
    pub(super) fn note(&mut self, on: Kind, records: u64, case: &'static str, program: &Program, figures: Figures) {
        self.runs.entry((on, records, case, program.name())).or_default().push(figures);
    }

    pub(super) fn print(&self) {
        println!(
            "| database | records | case | program | records/s | wall s | CPU s | server CPU s | peak MiB | requests | to the limit |"
        );
        println!("|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|");
        for ((on, records, case, program), runs) in &self.runs {
            let of = |value: fn(&Figures) -> f64| median(runs.iter().map(value).collect());
            let seconds = of(|run| run.seconds);
            let limit = self.runs.get(&(*on, *records, *case, "limit"));
            let ratio = limit.map(|limit| median(limit.iter().map(|run| run.seconds).collect()) / seconds);
            println!(
                "| {} | {records} | {case} | {program} | {:.0} | {seconds:.3} | {:.2} | {:.2} | {:.0} | {:.0} | {} |",
                on.name(),
                of(|run| run.records as f64) / seconds,
                of(|run| run.cpu_seconds),
                of(|run| run.server_cpu_seconds),
                of(|run| run.peak_mib),
                of(|run| run.requests as f64),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
