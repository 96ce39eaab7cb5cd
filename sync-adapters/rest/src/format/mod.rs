//! Bodies that are not JSON, turned into it: from there on there is one way.

mod csv;
mod xml;

use std::borrow::Cow;

use sync_core::json::Layout;
use sync_core::{Error, ErrorKind, Result, Retry};

use crate::config::{CsvConfig, Endpoint, Format};
use crate::paging::Pager;

/// How much larger than the largest body its JSON may be: names stand once in CSV and in every record of JSON.
const GROWTH: u64 = 8;

/// What the bodies of a stream are written in, ready.
#[derive(Debug)]
pub(crate) enum Bodies {
    Json,
    Csv { delimiter: u8, quoted: bool },
    Xml(xml::Shape),
}

impl Bodies {
    /// # Errors
    /// `Config`, where the format has no place for something that is declared.
    pub(crate) fn new(endpoint: &Endpoint, pager: &Pager) -> Result<Self> {
        if endpoint.format != Format::Csv && endpoint.csv != CsvConfig::default() {
            return Err(Error::config("field `csv` belongs to the format \"csv\"; declare `format`"));
        }
        if endpoint.format != Format::Json && endpoint.layout != Layout::Array {
            return Err(Error::config("field `layout` belongs to JSON; leave it out"));
        }
        match endpoint.format {
            Format::Json => Ok(Self::Json),
            Format::Csv => {
                if !endpoint.records.iter().all(String::is_empty) || endpoint.wrapper.is_some() {
                    return Err(Error::config("CSV has no envelope: leave out `records` and `wrapper`"));
                }
                if !pager.also().is_empty() {
                    return Err(Error::config(
                        "CSV has no place for what paging looks for in a body; leave out `total` and its like",
                    ));
                }
                let CsvConfig { delimiter, quoted } = endpoint.csv;
                let sign = u8::try_from(delimiter).ok().filter(|sign| sign.is_ascii() && !b"\"\r\n".contains(sign));
                let delimiter = sign.ok_or_else(|| {
                    Error::config("field `csv.delimiter` is one ASCII sign, and no quote and no line break")
                })?;
                Ok(Self::Csv { delimiter, quoted })
            }
            Format::Xml => xml::Shape::new(endpoint).map(Self::Xml),
        }
    }

    /// What is said of answers that are something else, by format.
    pub(crate) const ANOTHER: [&'static str; 3] = [
        "the source answers with something that is not JSON; is it a login or error page?",
        "the source answers with something that is not CSV; is it a login or error page?",
        "the source answers with something that is not XML; is it a login or error page?",
    ];

    /// What is said of an answer that is something else.
    pub(crate) fn another(&self) -> &'static str {
        match self {
            Self::Json => Self::ANOTHER[0],
            Self::Csv { .. } => Self::ANOTHER[1],
            Self::Xml(_) => Self::ANOTHER[2],
        }
    }

    /// What to ask for.
    pub(crate) fn accept(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv { .. } => "text/csv",
            Self::Xml(_) => "application/xml, text/xml",
        }
    }

    /// Whether a body may be of this type.
    pub(crate) fn is_type(&self, kind: &str) -> bool {
        let others: &[&str] = match self {
            Self::Json => &["application/json", "text/json", "application/x-ndjson", "application/jsonl"],
            Self::Csv { .. } => &["text/csv", "application/csv", "text/plain", "text/tab-separated-values"],
            Self::Xml(_) => &["application/xml", "text/xml"],
        };
        let suffix = match self {
            Self::Json => "+json",
            Self::Csv { .. } => "+csv",
            Self::Xml(_) => "+xml",
        };
        others.contains(&kind) || kind.ends_with(suffix)
    }

    /// Whether a body looks like it by its first characters.
    pub(crate) fn looks(&self, body: &[u8]) -> bool {
        let body = body.strip_prefix(BOM).unwrap_or(body).trim_ascii_start();
        match (self, body.first()) {
            (Self::Json, first) => matches!(first, Some(b'{' | b'[')),
            (Self::Csv { .. }, first) => !matches!(first, Some(b'{' | b'[' | b'<') | None),
            (Self::Xml(_), first) => {
                let begins = |word: &str| {
                    body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
                };
                first == Some(&b'<') && !begins("<!doctype html") && !begins("<html")
            }
        }
    }

    /// The body as JSON; `most` is the size of the largest body that is taken.
    ///
    /// # Errors
    /// `Malformed` where it is not what it should be, with advice to try again where it may have been cut; `Limit` where
    /// its JSON is much larger.
    pub(crate) fn json<'b>(&self, body: &'b [u8], most: u64) -> Result<Cow<'b, [u8]>> {
        let most = usize::try_from(most.saturating_mul(GROWTH)).unwrap_or(usize::MAX);
        match self {
            Self::Json => Ok(Cow::Borrowed(body)),
            Self::Csv { delimiter, quoted } => {
                csv::to_json(text(body)?, *delimiter, *quoted, most).map(|json| Cow::Owned(json.into_bytes()))
            }
            Self::Xml(shape) => shape.to_json(text(body)?, most).map(|json| Cow::Owned(json.into_bytes())),
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

fn text(body: &[u8]) -> Result<&str> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    std::str::from_utf8(body).map_err(|cause| match cause.error_len() {
        Some(_) => Error::malformed("the body is not valid UTF-8").with("byte", cause.valid_up_to()),
        None => cut_off("the body ends inside of a character"),
    })
}

/// The body ends too early. Asking again may help.
fn cut_off(what: &str) -> Error {
    Error::malformed(format!("{what}: the transfer may have been cut")).with_retry(Retry::Backoff)
}

fn too_large(most: usize) -> Error {
    Error::new(ErrorKind::Limit, "the body is larger than allowed once its names are written out")
        .with("limit", format!("{most} bytes"))
}
