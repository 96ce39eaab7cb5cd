//! Laws: what holds for all rows, changes and conflicts, not for examples.
//!
//! Every law is a function that says how it is broken. `holds` runs it over generated cases; `catches` runs the same
//! function over a planted fault and fails unless the law objects: a check that cannot fail proves nothing.
//!
//! `PROPTEST_CASES` sets the number of cases of each law, `PROPTEST_RNG_SEED` repeats a run.

mod canonical;
mod convergence;
mod counters;
mod detectors;
mod field_merge;
mod fixture;
mod order;
mod policies;

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// How a law is broken, in words.
type Law = Result<(), String>;

/// Cases of each law, unless `PROPTEST_CASES` says otherwise: all laws together then take some ten seconds.
const CASES: u32 = 1_000;

fn config() -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { CASES };
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// The law holds in every generated case.
#[track_caller]
fn holds<S: Strategy<Value: Debug>>(cases: &S, law: impl Fn(&S::Value) -> Law) {
    let outcome = run(config(), cases, law);
    if let Err(TestError::Fail(broken, case)) = outcome {
        panic!("the law is broken: {broken}\nby {case:#?}");
    }
    outcome.expect("cases can be generated");
}

/// The law is broken in some generated case: proof that it can be. The cases are the same in every run.
#[track_caller]
fn catches<S: Strategy<Value: Debug>>(cases: &S, law: impl Fn(&S::Value) -> Law) {
    let fixed = Config { cases: CASES, max_shrink_iters: 0, rng_seed: RngSeed::Fixed(7), ..config() };
    let outcome = run(fixed, cases, law);
    assert!(matches!(outcome, Err(TestError::Fail(..))), "the planted fault was not noticed in {CASES} cases");
}

fn run<S: Strategy<Value: Debug>>(
    config: Config,
    cases: &S,
    law: impl Fn(&S::Value) -> Law,
) -> Result<(), TestError<S::Value>> {
    TestRunner::new(config).run(cases, |case| law(&case).map_err(TestCaseError::fail))
}

/// Breaks the law with these words unless the condition holds.
fn ensure(condition: bool, broken: impl Into<String>) -> Law {
    if condition { Ok(()) } else { Err(broken.into()) }
}
