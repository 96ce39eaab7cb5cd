use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const START: Duration = Duration::from_secs(1_000);

fn down() -> Error {
    Error::unavailable("the source is down")
}

fn throttled(seconds: u64) -> Error {
    Error::new(ErrorKind::Throttled, "slow down").with_retry(Retry::After(Duration::from_secs(seconds)))
}

fn longest(policy: RetryPolicy) -> Vec<Duration> {
    let mut attempts = policy.start(START);
    let mut waits = Vec::new();
    while let Verdict::Wait(wait) = attempts.next(&down(), START, u64::MAX) {
        waits.push(wait);
    }
    waits
}

#[test]
fn pauses_double_from_the_base_and_stop_at_the_cap() {
    let policy = RetryPolicy::new().attempts(10).budget(Duration::from_secs(3600));
    let rounded: Vec<_> = longest(policy).into_iter().map(|wait| wait.as_millis()).collect();
    assert_eq!(rounded, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
}

#[test]
fn the_first_attempt_counts() {
    assert_eq!(longest(RetryPolicy::new()).len(), 7);
    assert!(longest(RetryPolicy::none()).is_empty());
}

#[test]
fn a_permanent_error_is_not_tried_again() {
    let verdict = RetryPolicy::new().start(START).next(&Error::data("too long"), START, 0);
    assert_eq!(verdict, Verdict::GiveUp(Reason::Permanent));
}

#[test]
fn an_error_that_a_layer_below_has_retried_is_not_multiplied() {
    let error = down().with_retry(Retry::Exhausted);
    assert_eq!(RetryPolicy::new().start(START).next(&error, START, 0), Verdict::GiveUp(Reason::Exhausted));
}

#[test]
fn a_short_demanded_wait_is_slept_through_with_jitter_on_top() {
    let verdict = RetryPolicy::new().start(START).next(&throttled(60), START, u64::MAX);
    assert_eq!(verdict, Verdict::Wait(Duration::from_millis(60_200)));
}

#[test]
fn a_long_demanded_wait_holds_the_scope() {
    let verdict = RetryPolicy::new().start(START).next(&throttled(61), START, 0);
    assert_eq!(verdict, Verdict::Hold(Duration::from_secs(61)));
}

#[test]
fn a_demanded_wait_of_days_is_cut_to_an_hour() {
    let verdict = RetryPolicy::new().start(START).next(&throttled(3 * 24 * 3600), START, 0);
    assert_eq!(verdict, Verdict::Hold(Duration::from_secs(3600)));
}

#[test]
fn a_demanded_wait_outlives_the_last_attempt() {
    let verdict = RetryPolicy::none().start(START).next(&throttled(5), START, 0);
    assert_eq!(verdict, Verdict::Hold(Duration::from_secs(5)));
}

#[test]
fn no_attempt_begins_after_the_budget() {
    let mut attempts = RetryPolicy::new().budget(Duration::from_secs(10)).start(START);
    let late = START + Duration::from_millis(9_900);
    assert_eq!(attempts.next(&down(), late, u64::MAX), Verdict::GiveUp(Reason::Budget(Duration::from_millis(9_900))));
}

#[test]
fn progress_begins_the_count_and_the_budget_anew() {
    let policy = RetryPolicy::new().attempts(2).budget(Duration::from_secs(10));
    let mut attempts = policy.start(START);
    assert!(matches!(attempts.next(&down(), START, 0), Verdict::Wait(_)));
    assert!(matches!(attempts.next(&down(), START, 0), Verdict::GiveUp(Reason::Attempts(2))));
    let later = START + Duration::from_secs(3600);
    attempts.reset(later);
    assert_eq!(attempts.failed(), 0);
    assert_eq!(attempts.next(&down(), later, u64::MAX), Verdict::Wait(Duration::from_millis(200)));
}

#[test]
fn a_policy_that_cannot_work_is_refused_by_name() {
    let cases = [
        (RetryPolicy::new().attempts(0), "attempts"),
        (RetryPolicy::new().factor(0.5), "factor"),
        (RetryPolicy::new().factor(f32::NAN), "factor"),
        (RetryPolicy::new().base(Duration::from_secs(31)), "base"),
        (RetryPolicy::new().cap(Duration::from_secs(3601)), "cap"),
        (RetryPolicy::new().max_wait(Duration::from_secs(3601)), "max_wait"),
    ];
    for (policy, setting) in cases {
        let error = policy.check().expect_err(setting);
        assert!(error.message().contains(setting), "{error}");
    }
    assert!(RetryPolicy::new().check().is_ok());
}

#[test]
fn reasons_read_as_sentences() {
    assert_eq!(
        Reason::Budget(Duration::from_millis(9_900)).to_string(),
        "the time the retry policy allows is used up after 9.9s"
    );
    assert_eq!(Reason::Attempts(8).to_string(), "all 8 attempts the retry policy allows have failed");
}

fn errors() -> impl Strategy<Value = Error> {
    prop_oneof![
        3 => Just(()).prop_map(|()| down()),
        2 => (0_u64..120).prop_map(throttled),
        1 => (0_u64..1_000_000).prop_map(throttled),
    ]
}

fn policies() -> impl Strategy<Value = RetryPolicy> {
    (1_u32..20, 0_u64..600, 0_u64..5_000, 1.0_f32..4.0, 5_000_u64..60_000, 0_u64..3600).prop_map(
        |(attempts, budget, base, factor, cap, max_wait)| {
            RetryPolicy::new()
                .attempts(attempts)
                .budget(Duration::from_secs(budget))
                .base(Duration::from_millis(base))
                .factor(factor)
                .cap(Duration::from_millis(cap))
                .max_wait(Duration::from_secs(max_wait))
        },
    )
}

/// One failed attempt: the error, how long it took, and the number the clock drew.
type Failure = (Error, Duration, u64);

fn failures() -> impl Strategy<Value = Vec<Failure>> {
    let duration = (0_u64..20_000).prop_map(Duration::from_millis);
    prop::collection::vec((errors(), duration, any::<u64>()), 40)
}

/// Plays failures until the policy ends it: the moments at which attempts began, and all verdicts.
fn play(policy: RetryPolicy, failures: &[Failure]) -> (Vec<Duration>, Vec<Verdict>) {
    let mut attempts = policy.start(START);
    let (mut now, mut begun, mut verdicts) = (START, vec![START], Vec::new());
    for (error, took, random) in failures {
        now += *took;
        let verdict = attempts.next(error, now, *random);
        verdicts.push(verdict);
        let Verdict::Wait(wait) = verdict else { break };
        now += wait;
        begun.push(now);
    }
    (begun, verdicts)
}

proptest! {
    #[test]
    fn attempts_never_exceed_the_count(policy in policies(), failures in failures()) {
        let (begun, verdicts) = play(policy, &failures);
        prop_assert!(begun.len() <= policy.attempts as usize);
        prop_assert!(!matches!(verdicts.last(), Some(Verdict::Wait(_))), "it ends");
    }

    #[test]
    fn no_attempt_comes_before_the_demanded_wait(policy in policies(), failures in failures()) {
        let (_, verdicts) = play(policy, &failures);
        for (verdict, (error, _, _)) in verdicts.iter().zip(&failures) {
            let Retry::After(floor) = error.retry() else { continue };
            let floor = floor.min(Duration::from_secs(3600));
            let (Verdict::Wait(wait) | Verdict::Hold(wait)) = verdict else {
                return Err(TestCaseError::fail("a demanded wait was forgotten"));
            };
            prop_assert!((floor..=floor + policy.cap).contains(wait));
            prop_assert!(matches!(verdict, Verdict::Hold(_)) || floor <= policy.max_wait);
        }
    }

    #[test]
    fn every_attempt_begins_within_the_budget(policy in policies(), failures in failures()) {
        let (begun, _) = play(policy, &failures);
        prop_assert!(begun.iter().all(|at| *at - START <= policy.budget));
    }

    #[test]
    fn the_same_failures_give_the_same_verdicts(policy in policies(), failures in failures()) {
        prop_assert_eq!(play(policy, &failures), play(policy, &failures));
    }

    #[test]
    fn jitter_covers_its_range_and_grows_with_the_random_number(millis in 0_u64..4_000_000, a: u64, b: u64) {
        let most = Duration::from_millis(millis);
        prop_assert_eq!(jitter(most, 0), Duration::ZERO);
        prop_assert_eq!(jitter(most, u64::MAX), most);
        prop_assert!(jitter(most, a.min(b)) <= jitter(most, a.max(b)));
    }
}

#[cfg(feature = "backoff")]
#[test]
fn a_backoff_configuration_is_taken_over() {
    let host = backoff::ExponentialBackoff {
        initial_interval: Duration::from_millis(500),
        multiplier: 1.5,
        max_interval: Duration::from_secs(20),
        max_elapsed_time: Some(Duration::from_secs(90)),
        ..backoff::ExponentialBackoff::default()
    };
    let policy = RetryPolicy::from(host);
    assert!(policy.check().is_ok());
    assert_eq!(policy.budget, Duration::from_secs(90));
    let waits = longest(policy);
    assert_eq!(waits[..2], [Duration::from_millis(500), Duration::from_millis(750)]);
    assert_eq!(waits.len(), 7, "the bound on attempts stays");
}

#[cfg(feature = "backoff")]
#[test]
fn a_backoff_configuration_without_end_is_given_one() {
    let host = backoff::ExponentialBackoff { max_elapsed_time: None, ..Default::default() };
    assert_eq!(RetryPolicy::from(host).budget, RetryPolicy::new().budget);
}
