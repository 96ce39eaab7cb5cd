//! Takes known secrets out of text that came from outside: raw, percent-encoded, escaped as in JSON, base64 or
//! hexadecimal.
//!
//! Our own messages never hold a secret to begin with. What a server sends back (a body sample, an error text, an
//! address) may repeat one, in any of these forms.

use std::fmt;
use std::ops::Range;
use std::sync::RwLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

const MASK: &str = "[redacted]";
/// A shorter text is in every second word; as a secret it is worthless anyway.
const SHORTEST: usize = 3;

/// Knows the secrets in use, those that were fetched on the way included.
#[derive(Default)]
pub(crate) struct Redactor {
    needles: RwLock<Vec<Needle>>,
}

struct Needle {
    form: SecretBytes,
    /// Hexadecimal is found in either case.
    any_case: bool,
}

type SecretBytes = secrecy::SecretBox<Vec<u8>>;

impl Redactor {
    /// Learns one more secret.
    pub(crate) fn learn(&self, secret: &SecretString) {
        let raw = secret.expose_secret().as_bytes();
        if raw.len() < SHORTEST {
            return;
        }
        let mut forms = vec![(raw.to_vec(), false), (hex(raw), true)];
        if raw.contains(&b' ') {
            forms.push((raw.iter().map(|&byte| if byte == b' ' { b'+' } else { byte }).collect(), false));
        }
        // A sample of JSON shows the digits of names as zeros.
        let masked: Vec<u8> = raw.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
        if masked != raw && masked.iter().filter(|byte| !byte.is_ascii_digit()).count() > SHORTEST {
            forms.push((masked, false));
        }
        forms.extend(base64_cores(raw).into_iter().map(|core| (core, false)));
        if let Ok(mut needles) = self.needles.write() {
            for (form, any_case) in forms {
                if !needles.iter().any(|known| known.any_case == any_case && *known.form.expose_secret() == form) {
                    needles.push(Needle { form: SecretBytes::new(Box::new(form)), any_case });
                }
            }
        }
    }

    /// The text without secrets.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut hits: Vec<Range<usize>> = Vec::new();
        let mut views = vec![View::plain(text.as_bytes())];
        // Three times: a link inside a link inside a link, or JSON inside JSON.
        for _ in 0..4 {
            views.iter().for_each(|view| self.find(view, &mut hits));
            views = views.iter().flat_map(|view| [view.percent_decoded(), view.unescaped()]).flatten().collect();
        }
        hits.sort_by_key(|hit| hit.start);
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        for hit in hits {
            if hit.start >= at {
                out.push_str(text.get(at..hit.start).unwrap_or_default());
                out.push_str(MASK);
            }
            at = at.max(hit.end);
        }
        out.push_str(text.get(at..).unwrap_or_default());
        out
    }

    /// The beginning of a body, without secrets, at most `most` bytes, on one line. Cut last, so that no half of a
    /// secret stays.
    pub(crate) fn sample(&self, body: &[u8], most: usize) -> String {
        let head = String::from_utf8_lossy(&body[..body.len().min(most.saturating_mul(16))]);
        let clean = self.clean(&head);
        let mut line = String::with_capacity(most);
        for c in clean.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if line.len() + c.len_utf8() > most {
                break;
            }
            line.push(c);
        }
        line
    }

    /// Whether a secret stands in the text.
    pub(crate) fn finds(&self, text: &str) -> bool {
        self.clean(text) != text
    }

    fn find(&self, view: &View, hits: &mut Vec<Range<usize>>) {
        let Ok(needles) = self.needles.read() else { return };
        let lower = view.bytes.to_ascii_lowercase();
        for needle in needles.iter() {
            let form = needle.form.expose_secret();
            let hay = if needle.any_case { &lower } else { &view.bytes };
            let mut from = 0;
            while let Some(at) = position(&hay[from..], form) {
                let start = from + at;
                hits.push(view.origin(start)..view.origin(start + form.len()));
                from = start + 1;
            }
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Bytes to search, and where each of them begins in the text they were decoded from.
struct View {
    bytes: Vec<u8>,
    origins: Vec<usize>,
    end: usize,
}

impl View {
    fn plain(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), origins: (0..bytes.len()).collect(), end: bytes.len() }
    }

    fn origin(&self, index: usize) -> usize {
        self.origins.get(index).copied().unwrap_or(self.end)
    }

    /// The same with every `%XX` decoded once; `None` where there is none.
    fn percent_decoded(&self) -> Option<Self> {
        let digit = |index: usize| self.bytes.get(index).and_then(|&byte| char::from(byte).to_digit(16));
        let mut out = Self { bytes: Vec::with_capacity(self.bytes.len()), origins: Vec::new(), end: self.end };
        let mut index = 0;
        while index < self.bytes.len() {
            out.origins.push(self.origins[index]);
            match (self.bytes[index], digit(index + 1), digit(index + 2)) {
                (b'%', Some(high), Some(low)) => {
                    out.bytes.push((high * 16 + low) as u8);
                    index += 3;
                }
                (byte, ..) => {
                    out.bytes.push(byte);
                    index += 1;
                }
            }
        }
        (out.bytes.len() < self.bytes.len()).then_some(out)
    }

    /// The same with every escape of JSON decoded once; `None` where there is none.
    fn unescaped(&self) -> Option<Self> {
        let mut out = Self { bytes: Vec::with_capacity(self.bytes.len()), origins: Vec::new(), end: self.end };
        let mut index = 0;
        while index < self.bytes.len() {
            let (decoded, length) = match escape(&self.bytes[index..]) {
                Some((c, length)) => (c.encode_utf8(&mut [0; 4]).as_bytes().to_vec(), length),
                None => (vec![self.bytes[index]], 1),
            };
            out.origins.extend(std::iter::repeat_n(self.origins[index], decoded.len()));
            out.bytes.extend(decoded);
            index += length;
        }
        (out.bytes.len() < self.bytes.len()).then_some(out)
    }
}

/// The text that the escape at the beginning of these bytes stands for, and its length; `None` where there is none.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let plain = |c: char| Some((c, 2));
    match (bytes.first()?, bytes.get(1)?) {
        (b'\\', b'"' | b'\\' | b'/') => plain(char::from(bytes[1])),
        (b'\\', b'b') => plain('\u{8}'),
        (b'\\', b'f') => plain('\u{c}'),
        (b'\\', b'n') => plain('\n'),
        (b'\\', b'r') => plain('\r'),
        (b'\\', b't') => plain('\t'),
        (b'\\', b'u') => match (unit(0)?, unit(6)) {
            (high @ 0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)).map(|c| (c, 12))
            }
            (alone, _) => char::from_u32(alone).map(|c| (c, 6)),
        },
        _ => None,
    }
}

fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, rest) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = hay.get(from..)?.iter().position(|&byte| byte == first) {
        let start = from + at;
        if hay[start + 1..].starts_with(rest) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

fn hex(raw: &[u8]) -> Vec<u8> {
    raw.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// What base64 shows of these bytes wherever they begin inside a longer text: the characters that depend on nothing else.
fn base64_cores(raw: &[u8]) -> Vec<Vec<u8>> {
    let mut cores = Vec::new();
    for shift in 0..3_usize {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(raw);
        let first = (shift * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            let core = &text.as_bytes()[first.min(text.len())..last.min(text.len())];
            // Fewer characters would match by chance.
            if core.len() >= 6 {
                cores.push(core.to_vec());
            }
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr3t/+ value&k";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.learn(&SecretString::from(SECRET));
        redactor
    }

    #[test]
    fn a_secret_is_taken_out_in_every_form() {
        let all: String = SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let twice = all.replace('%', "%25");
        let forms = [
            SECRET.to_owned(),
            "s3cr3t/%2B%20value%26k".to_owned(),
            "s3cr3t%2f%2b+value%26k".replace('+', "%20"),
            all,
            twice,
            String::from_utf8(hex(SECRET.as_bytes())).unwrap(),
            String::from_utf8(hex(SECRET.as_bytes())).unwrap().to_uppercase(),
            SECRET.replace('/', "\\/"),
            SECRET.replace('/', "\\\\\\/"),
            SECRET.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect(),
            SECRET.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect::<String>().replace('\\', "%5c"),
            STANDARD_NO_PAD.encode(SECRET),
            URL_SAFE_NO_PAD.encode(SECRET),
            STANDARD_NO_PAD.encode(format!("user:{SECRET}")),
            STANDARD_NO_PAD.encode(format!("a{SECRET}zz")),
        ];
        for form in forms {
            let clean = redactor().clean(&format!("before {form} after"));
            assert!(clean.starts_with("before ") && clean.ends_with(" after"), "{clean}");
            assert!(clean.contains(MASK), "{form} stayed in {clean}");
            assert!(!clean.contains("s3cr3t") && !clean.contains(&form), "{clean}");
        }
    }

    #[test]
    fn text_without_a_secret_stays_as_it_is() {
        let text = "nothing to hide: 100 %, %zz, ünïcode";
        assert_eq!(redactor().clean(text), text);
    }

    #[test]
    fn a_sample_is_cut_after_redaction() {
        let body = format!("{}{SECRET} tail", "x".repeat(195));
        let sample = redactor().sample(body.as_bytes(), 200);
        assert!(sample.len() <= 200 && !sample.contains("s3c"), "{sample}");
    }
}
