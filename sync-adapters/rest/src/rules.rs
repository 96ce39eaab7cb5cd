//! Decides what an answer means: the declared rules in order, then the usual meaning of its status.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use regex::{Regex, RegexBuilder};
use serde_json::Value;
use sync_core::{Error, ErrorKind, Result, Retry};

use crate::config::{Class, RuleConfig, Unit, WaitSource};
use crate::{error, http_date, pointer};

/// A source that names a longer wait than this is not waited for by a run; the advice still says how long.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);
/// Where a regular expression stops looking: error texts are short, and pages are long.
const TEXT_SEEN: usize = 64 << 10;

/// What an answer means.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is what was asked for.
    Ok,
    /// The credentials are not accepted: they may be renewed once.
    Renew(Error),
    /// It is an error.
    Failed(Error),
    /// It is an error that a shorter range of dates may avoid.
    Excess(Excess, Error),
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Rows,
    Time,
}

/// An answer, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Our own time, for answers without `Date`; seconds since 1970.
    pub(crate) now: i64,
}

#[derive(Debug)]
pub(crate) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    status: Vec<u16>,
    headers: Vec<(HeaderName, Regex)>,
    pointer: Option<String>,
    equals: Vec<Value>,
    matches: Option<Regex>,
    class: Class,
    wait: Vec<Wait>,
}

#[derive(Debug)]
enum Wait {
    RetryAfter,
    Header(HeaderName, Unit),
    Body(String, Unit),
    Text(Regex, Unit),
    Fixed(Duration),
}

impl Rules {
    /// # Errors
    /// `Config`, naming the rule by its position and what is wrong with it.
    pub(crate) fn compile<'c>(configs: impl IntoIterator<Item = &'c RuleConfig>) -> Result<Self> {
        let rules = configs
            .into_iter()
            .enumerate()
            .map(|(index, config)| Rule::compile(config).map_err(|fault| fault.with("rule", index + 1)));
        rules.collect::<Result<_>>().map(Self)
    }

    pub(crate) fn judge(&self, answer: Answered<'_>) -> Verdict {
        for rule in &self.0 {
            if rule.fits(answer) {
                return rule.verdict(answer);
            }
        }
        let status = answer.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Verdict::Ok;
        }
        let error = error::of_status(status);
        match (status.as_u16(), wait_asked(answer)) {
            (401, _) => Verdict::Renew(error),
            // RFC 9110 §10.2.3: a 503 may say when to come back, as a 429 does.
            (429, Some(wait)) => Verdict::Failed(error.with_retry(Retry::After(wait))),
            (503, Some(wait)) => Verdict::Failed(error.with_retry(Retry::After(wait))),
            _ => Verdict::Failed(error),
        }
    }
}

impl Rule {
    fn compile(config: &RuleConfig) -> Result<Self> {
        let pointer_of = |text: &str| match pointer::is_pointer(text) {
            true => Ok(text.to_owned()),
            false => Err(Error::config(format!("{text:?} is no JSON pointer; write it as \"/meta/code\""))),
        };
        if config.status.is_empty() && config.headers.is_empty() && config.pointer.is_none() && config.matches.is_none()
        {
            return Err(Error::config("a rule needs a condition: `status`, `headers`, `pointer` or `matches`"));
        }
        if !config.equals.is_empty() && config.pointer.is_none() {
            return Err(Error::config("`equals` compares the value at a `pointer`; name it"));
        }
        let headers = config.headers.iter().map(|(name, text)| Ok((header_name(name)?, regex(text)?)));
        let wait = config.wait.iter().map(|source| {
            Ok(match source {
                WaitSource::RetryAfter => Wait::RetryAfter,
                WaitSource::Header { name, unit } => Wait::Header(header_name(name)?, *unit),
                WaitSource::Body { pointer, unit } => Wait::Body(pointer_of(pointer)?, *unit),
                WaitSource::Text { regex: text, unit } => {
                    let regex = regex(text)?;
                    if regex.captures_len() < 2 {
                        return Err(Error::config("the regular expression of a wait needs a group around the number"));
                    }
                    Wait::Text(regex, *unit)
                }
                WaitSource::Fixed { seconds } => Wait::Fixed(Duration::from_secs(*seconds)),
            })
        });
        Ok(Self {
            status: config.status.clone(),
            headers: headers.collect::<Result<_>>()?,
            pointer: config.pointer.as_deref().map(pointer_of).transpose()?,
            equals: config.equals.clone(),
            matches: config.matches.as_deref().map(regex).transpose()?,
            class: config.class,
            wait: wait.collect::<Result<_>>()?,
        })
    }

    fn fits(&self, answer: Answered<'_>) -> bool {
        let header_fits = |(name, regex): &(HeaderName, Regex)| {
            answer.headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| regex.is_match(value)))
        };
        (self.status.is_empty() || self.status.contains(&answer.status.as_u16()))
            && self.headers.iter().all(header_fits)
            && self.body_fits(answer.body)
    }

    fn body_fits(&self, body: &[u8]) -> bool {
        let Some(pointer) = &self.pointer else {
            return self.matches.as_ref().is_none_or(|regex| regex.is_match(&text_of(body)));
        };
        let Some(value) = pointer::pick(body, pointer) else { return false };
        if self.equals.is_empty() && self.matches.is_none() {
            return match &value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                _ => true,
            };
        }
        (self.equals.is_empty() || self.equals.contains(&value))
            && self.matches.as_ref().is_none_or(|regex| match &value {
                Value::String(text) => regex.is_match(text),
                other => regex.is_match(&other.to_string()),
            })
    }

    fn verdict(&self, answer: Answered<'_>) -> Verdict {
        let error = match self.class {
            Class::Ok => return Verdict::Ok,
            Class::Auth => return Verdict::Renew(error::unauthorized().with("status", answer.status.as_u16())),
            Class::Throttle => {
                let waits = self.wait.iter().find_map(|wait| wait.read(answer)).or_else(|| wait_asked(answer));
                Error::new(ErrorKind::Throttled, "the source asks us to slow down")
                    .with_retry(waits.map_or(Retry::Backoff, Retry::After))
            }
            Class::Permission => Error::new(ErrorKind::Forbidden, "the source refuses this request to our account"),
            Class::BadRequest => Error::config("the source does not accept this request as declared"),
            Class::Transient => Error::unavailable("the source answers with an error of its own"),
            Class::Gone => Error::new(ErrorKind::Gone, "the source no longer has the position we hold"),
            Class::Failure => Error::malformed("the source answers with a failure in the guise of success"),
            Class::TooMany => Error::new(
                ErrorKind::Limit,
                "the source has more rows for this request than it answers with; ask for shorter ranges of dates",
            ),
            Class::TooSlow => Error::unavailable("the request takes the source too long")
                .with_retry(wait_asked(answer).map_or(Retry::Backoff, Retry::After)),
        };
        let error = error.with("status", answer.status.as_u16());
        match self.class {
            Class::TooMany => Verdict::Excess(Excess::Rows, error),
            Class::TooSlow => Verdict::Excess(Excess::Time, error),
            _ => Verdict::Failed(error),
        }
    }
}

impl Wait {
    fn read(&self, answer: Answered<'_>) -> Option<Duration> {
        match self {
            Self::RetryAfter => wait_asked(answer),
            Self::Header(name, unit) => wait_of(answer.headers.get(name)?.to_str().ok()?, *unit, answer),
            Self::Body(pointer, unit) => match pointer::pick(answer.body, pointer)? {
                Value::String(text) => wait_of(&text, *unit, answer),
                Value::Number(number) => wait_of(&number.to_string(), *unit, answer),
                _ => None,
            },
            Self::Text(regex, unit) => {
                let text = text_of(answer.body);
                let number = regex.captures(&text)?.get(1)?.as_str().to_owned();
                wait_of(&number, *unit, answer)
            }
            Self::Fixed(wait) => Some(*wait),
        }
    }
}

/// `Retry-After` in either form. A date is compared with the response's own `Date`: the two clocks may differ.
fn wait_asked(answer: Answered<'_>) -> Option<Duration> {
    let text = answer.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    if let Some(wait) = wait_of(text, Unit::Seconds, answer) {
        return Some(wait);
    }
    let until = http_date::parse(text)?.timestamp();
    Some(Duration::from_secs(u64::try_from(until - sent_at(answer)).unwrap_or(0)).min(LONGEST_WAIT))
}

fn sent_at(answer: Answered<'_>) -> i64 {
    http_date::sent_at(answer.headers).map_or(answer.now, |date| date.timestamp())
}

fn wait_of(text: &str, unit: Unit, answer: Answered<'_>) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    let seconds = match unit {
        Unit::Milliseconds => number / 1000.0,
        Unit::Seconds => number,
        Unit::Minutes => number * 60.0,
        Unit::Hours => number * 3600.0,
        Unit::Epoch => number - sent_at(answer) as f64,
    };
    // Rounded up: a wait is a floor.
    seconds.is_finite().then(|| Duration::from_millis((seconds.max(0.0) * 1000.0).ceil() as u64).min(LONGEST_WAIT))
}

fn text_of(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(TEXT_SEEN)]).into_owned()
}

fn regex(text: &str) -> Result<Regex> {
    RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|cause| Error::config("a regular expression cannot be read").caused_by(cause))
}

fn header_name(text: &str) -> Result<HeaderName> {
    text.parse().map_err(|_| Error::config(format!("{text:?} is no header name")))
}
