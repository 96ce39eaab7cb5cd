//! One stream made ready: its requests, its records, its paging, its ranges of dates.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sync_core::json::{Envelope, RecordReader};
use sync_core::model::{Field, Kind, Timestamp};
use sync_core::{Error, Result, StreamSpec, Value};
use url::{Url, form_urlencoded};

use crate::client::{Bucket, Call};
use crate::config::{BodyConfig, Class, Endpoint, Format, MethodConfig, RuleConfig, SinceConfig, Style};
use crate::fan_out::Parent;
use crate::format::Bodies;
use crate::paging::Pager;
use crate::partition::{self, Own};
use crate::passes::{self, Pass};
use crate::position::{PageAt, Position, Slice, foreign};
use crate::records;
use crate::rules::Rules;
use crate::template::{self, Variables};
use crate::time_form::TimeForm;
use crate::window::Window;

/// One stream, ready to be read.
#[derive(Debug)]
pub(crate) struct StreamPlan {
    pub(crate) spec: Arc<StreamSpec>,
    pub(crate) endpoint: Endpoint,
    pub(crate) reader: RecordReader,
    pub(crate) envelope: Envelope,
    pub(crate) bodies: Bodies,
    pub(crate) pager: Pager,
    pub(crate) rules: Rules,
    pub(crate) since: Option<Since>,
    pub(crate) window: Option<Window>,
    pub(crate) passes: Vec<Pass>,
    /// What tells the rows of its partitions apart.
    pub(crate) own: Option<Own>,
    /// Where its partitions are listed.
    pub(crate) parent: Option<Parent>,
    /// What its requests are counted in, where it has a rate of its own.
    pub(crate) bucket: Option<Arc<Bucket>>,
    headers: HeaderMap,
}

/// How to ask for changes only, ready.
#[derive(Debug)]
pub(crate) struct Since {
    pub(crate) config: SinceConfig,
    form: TimeForm,
}

impl StreamPlan {
    /// # Errors
    /// `Config`, naming the stream and the field.
    pub(crate) fn new(spec: Arc<StreamSpec>, endpoint: Endpoint, rules: &[RuleConfig]) -> Result<Self> {
        let name = spec.name().to_owned();
        Self::compile(spec, endpoint, rules).map_err(|error| error.with("stream", name))
    }

    fn compile(spec: Arc<StreamSpec>, endpoint: Endpoint, rules: &[RuleConfig]) -> Result<Self> {
        spec.check()?;
        if !endpoint.path.starts_with('/') {
            return Err(Error::config("field `path` begins with a slash"));
        }
        if (endpoint.method == MethodConfig::Get) == endpoint.body.is_some() {
            return Err(Error::config("field `body` belongs to a POST, and a POST needs one"));
        }
        let pager = Pager::new(&endpoint.paging)?;
        if let Some(column) = &endpoint.paging.column {
            field(&spec, "paging.column", column)?;
            check_unique(&spec, &endpoint, column)?;
        }
        let bodies = Bodies::new(&endpoint, &pager)?;
        let (reader, envelope) = records::compile(&spec, &endpoint, &pager)?;
        let since = endpoint.since.as_ref().map(|config| Since::new(config, &spec)).transpose()?;
        let window = endpoint.window.as_ref().map(|config| Window::new(config, &spec)).transpose()?;
        let passes = endpoint.window.as_ref().map(|config| passes::compile(config, &spec)).transpose()?;
        let halves = |rule: &RuleConfig| matches!(rule.class, Class::TooMany | Class::TooSlow);
        if endpoint.rules.iter().any(halves) && endpoint.window.as_ref().is_none_or(|window| window.halve.is_none()) {
            return Err(Error::config(
                "field `rules` has the class `too_many` or `too_slow`, which needs `window.halve`",
            ));
        }
        if since.is_some() && window.is_some() {
            return Err(Error::config("a stream asks by `since` or by `window`, not by both"));
        }
        if endpoint.partitions_from.is_some() && !endpoint.partitions.is_empty() {
            return Err(Error::config("a stream has `partitions` or `partitions_from`, not both"));
        }
        let own = Own::new(&spec, &endpoint)?;
        let parent = endpoint.partitions_from.as_ref().map(|config| Parent::new(&spec, config, rules)).transpose()?;
        let plan = Self {
            own,
            parent,
            bucket: None,
            rules: Rules::compile(endpoint.rules.iter().chain(rules))?,
            headers: headers(&endpoint, &bodies)?,
            bodies,
            spec,
            reader,
            envelope,
            pager,
            since,
            window,
            passes: passes.unwrap_or_default(),
            endpoint,
        };
        if let Some(own) = &plan.own {
            let declared = plan.endpoint.partitions.iter();
            let given: Vec<_> =
                declared.map(|part| (part.name.clone(), partition::named(&part.name, &part.variables))).collect();
            own.check(given.iter().map(|(name, variables)| (name.clone(), variables)))?;
        }
        Ok(plan)
    }

    /// Whether a read can ask for what is new, and how it marks its place.
    pub(crate) fn is_keyset(&self) -> bool {
        self.pager.config.style == Style::Keyset
    }

    /// The window of a further pass, or of the stream itself.
    pub(crate) fn window_of(&self, pass: Option<&str>) -> Option<&Window> {
        match pass {
            None => self.window.as_ref(),
            Some(name) => self.passes.iter().find(|pass| pass.name == name).map(|pass| &pass.window),
        }
    }

    /// The variables of a partition.
    ///
    /// # Errors
    /// `Config` when there is no such partition.
    pub(crate) fn variables(&self, partition: &str) -> Result<Variables> {
        if self.endpoint.partitions.is_empty() && partition.is_empty() {
            return Ok(Variables::new());
        }
        let known = self.endpoint.partitions.iter().find(|known| known.name == partition);
        known.map(|known| partition::named(&known.name, &known.variables)).ok_or_else(|| {
            Error::config("the stream has no partition of this name")
                .with("stream", self.spec.name())
                .with("partition", partition)
        })
    }

    /// The request for the page at this position.
    pub(crate) fn call(&self, base: &Url, partition: &Variables, position: &Position) -> Result<Call> {
        let mut variables = partition.clone();
        let mut query = self.pager.place(&position.page, &mut variables)?;
        if let (Some(since), Some(value)) = (&self.since, &position.since) {
            let text = since.write(value);
            query.extend(since.config.param.clone().map(|param| (param, text.clone())));
            variables.insert("since".to_owned(), text);
        }
        if let (Some(window), Some(slice)) = (self.window_of(position.pass.as_deref()), position.slice) {
            variables.extend(window.config.variables.clone());
            let (from, to) = window.bounds(slice);
            query.extend(window.config.from.clone().map(|param| (param, from.clone())));
            query.extend(window.config.to.clone().map(|param| (param, to.clone())));
            variables.extend([("from".to_owned(), from), ("to".to_owned(), to)]);
        }
        let url = match &position.page {
            PageAt::Address(address) => Url::parse(address).map_err(|_| foreign())?,
            _ => self.url(base, &variables, query)?,
        };
        let method = match self.endpoint.method {
            MethodConfig::Get => Method::GET,
            MethodConfig::Post => Method::POST,
        };
        let (headers, bucket) = (self.headers.clone(), self.bucket.clone());
        Ok(Call { method, url, headers, body: self.body(&variables), bucket })
    }

    fn url(&self, base: &Url, variables: &Variables, paging: Vec<(String, String)>) -> Result<Url> {
        let path = template::fill_path(&self.endpoint.path, variables)?;
        let mut url = base.clone();
        url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
        let declared = self.endpoint.query.iter().flat_map(|(name, values)| {
            values.texts().iter().filter_map(|text| Some((name.clone(), template::fill(text, variables)?)))
        });
        let pairs: Vec<(String, String)> = declared.chain(paging).collect();
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(url)
    }

    fn body(&self, variables: &Variables) -> Option<Bytes> {
        match self.endpoint.body.as_ref()? {
            BodyConfig::Json(body) => template::fill_json(body, variables).map(|filled| filled.to_string().into()),
            BodyConfig::Form(form) => {
                let mut out = form_urlencoded::Serializer::new(String::new());
                for (name, values) in form {
                    out.extend_pairs(
                        values.texts().iter().filter_map(|text| Some((name, template::fill(text, variables)?))),
                    );
                }
                Some(out.finish().into())
            }
        }
    }
}

impl Since {
    fn new(config: &SinceConfig, spec: &StreamSpec) -> Result<Self> {
        if spec.version_column().is_none() {
            return Err(Error::config("field `since` needs a version column: `.version(\"updated_at\")`"));
        }
        Ok(Self { config: config.clone(), form: TimeForm::new(&config.format, &config.zone)? })
    }

    fn write(&self, value: &Value) -> String {
        match value {
            Value::Timestamp(at) => self.form.write(*at),
            Value::Date(date) => self.form.write_date(*date),
            other => other.to_string(),
        }
    }

    /// What to ask for next time: the highest version seen, but nothing that may have appeared since the listing
    /// began, and a little before that.
    pub(crate) fn next(&self, position: &Position) -> Option<Value> {
        let overlap = i64::try_from(self.config.overlap_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let next = match position.high.clone()? {
            Value::Timestamp(high) => {
                let seen = position.started.map_or(high, |started| high.min(started));
                Value::Timestamp(Timestamp::from_micros(seen.micros().saturating_sub(overlap)))
            }
            Value::Date(high) => {
                let days = self.config.overlap_seconds.div_ceil(86_400);
                let seen = position.started.map_or(high, |started| high.min(self.form.day_of(started)));
                Value::Date(seen.checked_sub_days(chrono::Days::new(days)).unwrap_or(seen))
            }
            other => other,
        };
        match &position.since {
            Some(old) if *old >= next => Some(old.clone()),
            _ => Some(next),
        }
    }
}

/// Rows that share a value of the keyset's column would be lost at the border of two pages: it is the key, but for what
/// the partition gives, or declared to be unique.
fn check_unique(spec: &StreamSpec, endpoint: &Endpoint, column: &str) -> Result<()> {
    let given = |name: &str| {
        endpoint.partition_column.as_deref() == Some(name)
            || endpoint.columns.get(name).is_some_and(|place| place.starts_with('{'))
    };
    let mut key = spec.key_columns().iter().filter(|name| !given(name));
    if endpoint.paging.unique || (key.next().map(String::as_str) == Some(column) && key.next().is_none()) {
        return Ok(());
    }
    Err(Error::config(format!(
        "field `paging.column` names the column {column:?}, which is not the key: rows that share a value would be lost between two pages; page by the key, or declare `unique = true` if no two rows do",
    )))
}

/// The column a setting names.
pub(crate) fn field<'s>(spec: &'s StreamSpec, setting: &str, column: &str) -> Result<&'s Field> {
    spec.schema().field(column).ok_or_else(|| {
        Error::config(format!("field `{setting}` names the column {column:?}, which the stream does not have"))
    })
}

/// Whether a column holds instants or dates.
pub(crate) fn is_temporal(field: &Field) -> bool {
    matches!(field.kind(), Kind::Timestamp | Kind::Date)
}

/// The slice's ends as values of the column they are compared with.
pub(crate) fn slice_values(slice: Slice, field: &Field, form: &TimeForm) -> (Value, Value) {
    match field.kind() {
        Kind::Date => (Value::Date(form.day_of(slice.from)), Value::Date(form.day_of(slice.until))),
        _ => (Value::Timestamp(slice.from), Value::Timestamp(slice.until)),
    }
}

fn headers(endpoint: &Endpoint, bodies: &Bodies) -> Result<HeaderMap> {
    let mut headers = header_map(&endpoint.headers)?;
    if endpoint.format != Format::Json {
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(bodies.accept()));
    }
    let kind = match &endpoint.body {
        Some(BodyConfig::Json(_)) => Some("application/json"),
        Some(BodyConfig::Form(_)) => Some("application/x-www-form-urlencoded"),
        None => None,
    };
    if let Some(kind) = kind {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    }
    Ok(headers)
}

/// # Errors
/// `Config` when a name or a value cannot stand in a header: a line break in one would begin another.
pub(crate) fn header_map<'h>(pairs: impl IntoIterator<Item = (&'h String, &'h String)>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = || {
            Error::config("a header has a name or a value that cannot stand there").with("header", format!("{name:?}"))
        };
        headers.insert(name.parse::<HeaderName>().map_err(|_| wrong())?, value.parse().map_err(|_| wrong())?);
    }
    Ok(headers)
}
