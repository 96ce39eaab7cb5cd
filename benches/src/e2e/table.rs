//! What was measured, as a table of medians. How far a program is behind the limit is said by each round of its own, in which
//! both ran within seconds of each other: machines are faster and slower from minute to minute.

use std::collections::BTreeMap;

use super::program::Program;
use super::{AT_ONCE, FAR_AWAY, FIRST_LOAD, LATENCY};
use crate::figures::Figures;
use crate::place::Kind;
use crate::serve::PAGE;

/// The most records that come in a second where each answer takes so long.
const PAGES_FAR_AWAY: f64 = (AT_ONCE as u64 * PAGE * 1000 / LATENCY) as f64;

/// Measurements by round; none where a peer did not come to its end.
type Rounds = BTreeMap<u32, Option<Figures>>;

/// What was measured, by database, records, case and program.
#[derive(Debug, Default)]
pub(super) struct Table {
    runs: BTreeMap<(Kind, u64, &'static str, &'static str), Rounds>,
}

impl Table {
    /// The rounds of a program in a case.
    pub(super) fn rounds(&mut self, on: Kind, records: u64, case: &'static str, program: &Program) -> &mut Rounds {
        self.runs.entry((on, records, case, program.name())).or_default()
    }

    /// How many times as fast as the limit each run was. Far away, the limit is as fast as it is nearby, or as pages come in.
    fn ratios(&self, on: Kind, records: u64, case: &str, runs: &Rounds) -> Option<Vec<f64>> {
        let far = case == FAR_AWAY;
        let limit = self.runs.get(&(on, records, if far { FIRST_LOAD } else { case }, "limit"))?;
        let rate = |limit: &Figures| {
            let rate = limit.records as f64 / limit.seconds;
            if far { rate.min(PAGES_FAR_AWAY) } else { rate }
        };
        let rounds = runs.iter().filter_map(|(round, run)| run.as_ref().zip(limit.get(round)?.as_ref()));
        Some(rounds.map(|(run, limit)| run.records as f64 / run.seconds / rate(limit)).collect())
    }

    pub(super) fn print(&self) {
        println!(
            "| database | records | case | program | records/s | wall s | CPU s | server CPU s | peak MiB | requests | to the limit |"
        );
        println!("|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|");
        for ((on, records, case, program), runs) in &self.runs {
            let ended: Vec<&Figures> = runs.values().flatten().collect();
            let place = format!("| {} | {records} | {case} | {program} |", on.name());
            if ended.len() < runs.len() {
                println!("{place} failed {} of {} × | | | | | | |", runs.len() - ended.len(), runs.len());
            }
            if ended.is_empty() {
                continue;
            }
            let of = |value: fn(&Figures) -> f64| median(ended.iter().map(|run| value(run)).collect());
            let seconds = of(|run| run.seconds);
            let ratio = self.ratios(*on, *records, case, runs).map(median);
            println!(
                "{place} {:.0} | {seconds:.3} | {:.2} | {:.2} | {:.0} | {:.0} | {} |",
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
    let (low, high) = (values.get((values.len().max(1) - 1) / 2), values.get(values.len() / 2));
    low.zip(high).map_or(f64::NAN, |(low, high)| low.midpoint(*high))
}
