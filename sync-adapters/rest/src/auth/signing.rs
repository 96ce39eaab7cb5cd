//! Signs requests: a text made of their parts, a key, and a place for the outcome.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sync_core::json::Zone;
use sync_core::{Clock, Error, Result};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::config::{Algorithm, Encoding, SentConfig, SigningConfig};
use crate::template::{self, Variables};
use crate::time_form::TimeForm;
use crate::transport::HttpRequest;

/// What stands before the name of a query parameter that is signed by itself.
const PARAMETER: &str = "query_";
/// What may be sent beside the signature, and signed as well.
const SENT: [&str; 4] = ["timestamp", "nonce", "body_sha256", "body_sha256_base64"];

/// A declared signature, ready to be made.
pub(crate) struct Signer {
    key_id: Option<SecretString>,
    secret: SecretString,
    signs: String,
    algorithm: Algorithm,
    encoding: Encoding,
    time: TimeForm,
    /// Those without the signature first: they are there when the query is signed.
    send: Vec<Sent>,
    clock: Arc<dyn Clock>,
}

struct Sent {
    place: Place,
    value: String,
}

enum Place {
    Header(HeaderName),
    Query(String),
}

impl Signer {
    /// # Errors
    /// `Config`, naming the field.
    pub(super) fn new(
        config: &SigningConfig,
        key_id: Option<SecretString>,
        secret: SecretString,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let known = ["method", "host", "path", "query", "sorted_query", "body"];
        let is_key_id = |name: &str| name == "key_id" && key_id.is_some();
        let is_plain = config.algorithm == Algorithm::Sha256;
        let names = template::names(&config.signs);
        for name in &names {
            let is_part = known.contains(name) || SENT.contains(name) || name.starts_with(PARAMETER);
            let fits = is_part || (*name == "secret" && is_plain);
            if !fits && !is_key_id(name) {
                return Err(unknown("auth.signs", name));
            }
        }
        if is_plain && !names.contains(&"secret") {
            return Err(Error::config("field `auth.signs` needs {secret}: without it, `sha256` proves nothing"));
        }
        if names.is_empty() {
            return Err(Error::config(
                "field `auth.signs` names no part of the request, such as {path} or {timestamp}",
            ));
        }
        for name in config.send.iter().flat_map(|sent| template::names(&sent.value)) {
            if name != "signature" && !SENT.contains(&name) && !is_key_id(name) {
                return Err(unknown("auth.send", name));
            }
        }
        if !config.send.iter().any(|sent| carries_signature(&sent.value)) {
            return Err(Error::config("field `auth.send` holds no {signature}: where does it go?"));
        }
        let mut send = config.send.iter().map(Sent::new).collect::<Result<Vec<_>>>()?;
        send.sort_by_key(|sent| carries_signature(&sent.value));
        Ok(Self {
            key_id,
            secret,
            signs: config.signs.clone(),
            algorithm: config.algorithm,
            encoding: config.encoding,
            time: TimeForm::new(&config.timestamp, &Zone::Utc)
                .map_err(|error| error.with("field", "auth.timestamp"))?,
            send,
            clock,
        })
    }

    /// The query parameters that are put on each request.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.send.iter().filter_map(|sent| match &sent.place {
            Place::Query(name) => Some(name.as_str()),
            Place::Header(_) => None,
        })
    }

    /// Signs a request as it is at this moment.
    ///
    /// # Errors
    /// `Config` when it has no such parameter, or a value cannot stand in a header.
    pub(super) fn sign(&self, request: &mut HttpRequest) -> Result<()> {
        let mut values = self.sent(request.body.as_deref().unwrap_or_default());
        if let Some(key_id) = &self.key_id {
            values.insert("key_id".to_owned(), key_id.expose_secret().to_owned());
        }
        let mut signature = None;
        for sent in &self.send {
            if carries_signature(&sent.value) && signature.is_none() {
                let made = self.signature(request, values.clone())?;
                values.insert("signature".to_owned(), made.clone());
                signature = Some(made);
            }
            // Both were checked when the signer was made, so every variable has a value.
            sent.put(template::fill(&sent.value, &values).unwrap_or_default(), request)?;
        }
        Ok(())
    }

    /// The values of [`SENT`], made once for each request: what is signed is what is sent.
    fn sent(&self, body: &[u8]) -> Variables {
        let digest = Sha256::digest(body);
        let values = SENT.map(|name| {
            let value = match name {
                "timestamp" => self.time.write(self.clock.now().into()),
                "nonce" => Uuid::new_v4().simple().to_string(),
                "body_sha256" => hex(&digest),
                _ => STANDARD.encode(digest),
            };
            (name.to_owned(), value)
        });
        values.into()
    }

    fn signature(&self, request: &HttpRequest, mut values: Variables) -> Result<String> {
        let url = &request.url;
        let body = request.body.as_deref().unwrap_or_default();
        let names = template::names(&self.signs);
        let parts = [
            ("method", request.method.as_str().to_owned()),
            ("host", host(url)),
            ("path", url.path().to_owned()),
            ("query", url.query().unwrap_or_default().to_owned()),
            ("sorted_query", sorted_query(url)),
            ("body", String::from_utf8_lossy(body).into_owned()),
            ("secret", self.secret.expose_secret().to_owned()),
        ];
        let used = parts.into_iter().filter(|(name, _)| names.contains(name));
        values.extend(used.map(|(name, value)| (name.to_owned(), value)));
        for name in names {
            if let (Some(parameter), false) = (name.strip_prefix(PARAMETER), values.contains_key(name)) {
                let value =
                    url.query_pairs().find(|(known, _)| known == parameter).map(|(_, value)| value.into_owned());
                let value = value.ok_or_else(|| {
                    Error::config("field `auth.signs` names a query parameter that this request does not have")
                        .with("parameter", parameter)
                })?;
                values.insert(name.to_owned(), value);
            }
        }
        let text = SecretString::from(template::fill(&self.signs, &values).unwrap_or_default());
        let bytes = match self.algorithm {
            Algorithm::HmacSha256 => hmac(self.secret.expose_secret().as_bytes(), text.expose_secret().as_bytes())?,
            Algorithm::Sha256 => Sha256::digest(text.expose_secret()).into(),
        };
        Ok(match self.encoding {
            Encoding::Hex => hex(&bytes),
            Encoding::Base64 => STANDARD.encode(bytes),
        })
    }
}

impl Sent {
    fn new(config: &SentConfig) -> Result<Self> {
        let place = match (&config.header, &config.query) {
            (Some(name), None) => Place::Header(
                name.parse().map_err(|_| Error::config(format!("field `auth.send`: {name:?} is no header name")))?,
            ),
            (None, Some(name)) => Place::Query(name.clone()),
            _ => return Err(Error::config("field `auth.send`: each goes into a `header` or into a `query` parameter")),
        };
        Ok(Self { place, value: config.value.clone() })
    }

    fn put(&self, value: String, request: &mut HttpRequest) -> Result<()> {
        match &self.place {
            Place::Header(name) => {
                request.headers.insert(name.clone(), super::sensitive("", &SecretString::from(value))?);
            }
            Place::Query(name) => {
                request.url.query_pairs_mut().append_pair(name, &value);
            }
        }
        Ok(())
    }
}

fn carries_signature(value: &str) -> bool {
    template::names(value).contains(&"signature")
}

fn unknown(field: &str, name: &str) -> Error {
    let remedy = if name == "key_id" { "; declare `auth.key_id`" } else { "" };
    Error::config(format!("field `{field}` has the variable {{{name}}}, which a signature does not know{remedy}"))
}

/// As the header `Host` has it: a port only where it is not the usual one.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn sorted_query(url: &Url) -> String {
    let mut pairs: Vec<_> = url.query_pairs().collect();
    pairs.sort();
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn hmac(key: &[u8], text: &[u8]) -> Result<[u8; 32]> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::internal("a key has a length HMAC refuses"))?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases 1, 2 and 6 of RFC 4231 §4.
    #[test]
    fn hmac_sha256_is_that_of_rfc_4231() {
        let signed = |key: &[u8], text: &str| hex(&hmac(key, text.as_bytes()).unwrap());
        assert_eq!(signed(&[0x0b; 20], "Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_eq!(
            signed(b"Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            signed(&[0xaa; 131], "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
