//! Reads a body to its end, decompressing it, with a cap on what comes out and on how much larger than what went in.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use sync_core::{Error, ErrorKind, Result, Retry};
use zstd::stream::raw::DParameter;
use zstd::stream::{raw, zio};

/// Output below this is harmless whatever it was before: a short body of many equal rows compresses very well.
const RATIO_FREE: u64 = 1 << 20;
/// RFC 8878 §3.1.1.1.2 asks decoders to support windows of 8 MiB and lets them refuse larger ones.
const ZSTD_WINDOW_LOG: u32 = 23;

/// What a body may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Bytes after decompression.
    pub(crate) bytes: u64,
    /// Bytes after decompression for each byte before it.
    pub(crate) ratio: u64,
}

type Body = BoxStream<'static, Result<Bytes>>;

/// The whole body, decompressed, and how many bytes came over the wire.
///
/// # Errors
/// `Limit` when a cap is passed; `Malformed` for an encoding we did not ask for, or two of them; `Unavailable`, to be
/// tried again, when the body ends too early.
pub(crate) async fn read_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<(Bytes, u64)> {
    let (out, wire) = match Decoder::new(headers)? {
        Some(decoder) => inflated(decoder, body, limits).await?,
        None => plain(body, announced(headers), limits).await?,
    };
    if out.starts_with(&[0x1f, 0x8b]) || out.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(double_encoding());
    }
    Ok((out, wire))
}

/// A body that is not compressed. Most come in one chunk, which need not be copied.
async fn plain(mut body: Body, announced: u64, limits: BodyLimits) -> Result<(Bytes, u64)> {
    let (mut first, mut all, mut wire) = (Bytes::new(), Vec::new(), 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        wire += chunk.len() as u64;
        if wire > limits.bytes {
            return Err(too_large(limits));
        }
        if wire == chunk.len() as u64 {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.reserve(usize::try_from(announced.min(limits.bytes)).unwrap_or(0));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&chunk);
    }
    Ok((if all.is_empty() { first } else { all.into() }, wire))
}

async fn inflated(mut decoder: Decoder, mut body: Body, limits: BodyLimits) -> Result<(Bytes, u64)> {
    let mut wire = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        wire += chunk.len() as u64;
        decoder.write(&chunk, limits, wire)?;
    }
    Ok((decoder.finish(wire)?.into(), wire))
}

/// How many bytes the body is said to have on the wire; 0 where nothing is said.
fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Capped>>),
    Zstd(Box<zio::Writer<Capped, raw::Decoder<'static>>>),
}

impl Decoder {
    /// The decoder for a body of these headers; `None` where it is not compressed.
    fn new(headers: &HeaderMap) -> Result<Option<Self>> {
        let mut encodings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| unknown_encoding())?;
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            encodings.extend(names.map(str::to_ascii_lowercase).filter(|name| name != "identity"));
        }
        match encodings.as_slice() {
            [] => Ok(None),
            [one] => match one.as_str() {
                "gzip" | "x-gzip" => Ok(Some(Self::Gzip(Box::new(MultiGzDecoder::new(Capped::default()))))),
                "zstd" => {
                    let no_memory = |cause| Error::internal("cannot set up a zstd decoder").caused_by(cause);
                    let mut decoder = raw::Decoder::new().map_err(no_memory)?;
                    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(no_memory)?;
                    Ok(Some(Self::Zstd(Box::new(zio::Writer::new(Capped::default(), decoder)))))
                }
                _ => Err(unknown_encoding()),
            },
            _ => Err(double_encoding()),
        }
    }

    fn sink(&mut self) -> &mut Capped {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.writer_mut(),
        }
    }

    fn write(&mut self, chunk: &[u8], limits: BodyLimits, wire: u64) -> Result<()> {
        let sink = self.sink();
        sink.most = limits.bytes;
        sink.inflated = wire.saturating_mul(limits.ratio).max(RATIO_FREE);
        let written = match self {
            Self::Gzip(decoder) => decoder.write_all(chunk),
            Self::Zstd(decoder) => decoder.write_all(chunk),
        };
        match (self.sink().passed, written) {
            (Some(Cap::Size), _) => Err(too_large(limits)),
            (Some(Cap::Ratio), _) => Err(Error::new(
                ErrorKind::Limit,
                "the body grows more in decompression than allowed; it looks like a decompression bomb",
            )
            .with("limit", format!("{}:1", limits.ratio))),
            (None, Ok(())) => Ok(()),
            (None, Err(_)) => Err(broken_compression()),
        }
    }

    fn finish(mut self, wire: u64) -> Result<Vec<u8>> {
        // An empty body is empty, whatever encoding it announces (a 204, a HEAD).
        if wire == 0 {
            return Ok(Vec::new());
        }
        let ended = match &mut self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        ended.map_err(|_| broken_compression())?;
        Ok(std::mem::take(&mut self.sink().out))
    }
}

/// Takes bytes up to its caps and refuses the rest.
#[derive(Default)]
struct Capped {
    out: Vec<u8>,
    most: u64,
    inflated: u64,
    passed: Option<Cap>,
}

#[derive(Clone, Copy)]
enum Cap {
    Size,
    Ratio,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let after = (self.out.len() + bytes.len()) as u64;
        // Which of the two tells more: a body over the size is too large in any case.
        self.passed = if after > self.inflated {
            Some(Cap::Ratio)
        } else if after > self.most {
            Some(Cap::Size)
        } else {
            self.out.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        Err(io::Error::other("over the cap"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn too_large(limits: BodyLimits) -> Error {
    Error::new(ErrorKind::Limit, "the body is larger than allowed").with("limit", format!("{} bytes", limits.bytes))
}

fn unknown_encoding() -> Error {
    Error::malformed("the body is encoded in a way we did not ask for; we take gzip, zstd or none")
}

fn double_encoding() -> Error {
    Error::malformed("the body is encoded twice; one gzip or zstd is taken, two are refused")
}

/// Damage on the way and a body cut short look alike here; both may go well next time.
fn broken_compression() -> Error {
    Error::unavailable("the compressed body is damaged or ends too early; the page is discarded")
        .with_retry(Retry::Backoff)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 8 << 20, ratio: 100 };

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(encoding: &str, wire: &[u8]) -> Result<(Bytes, u64)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        let chunks: Vec<_> = wire.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        futures::executor::block_on(read_body(&headers, Box::pin(futures::stream::iter(chunks)), LIMITS))
    }

    #[test]
    fn gzip_and_zstd_come_out_as_they_went_in() {
        let body: Vec<u8> = (0..50_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        assert_eq!(read("gzip", &gzip(&body)).unwrap().0, body);
        assert_eq!(read("zstd", &zstd::encode_all(&body[..], 3).unwrap()).unwrap().0, body);
        assert_eq!(read("identity", &body).unwrap().0, body);
    }

    #[test]
    fn a_plain_body_comes_out_whole_in_however_many_chunks_it_came() {
        for size in [0, 1, 999, 1000, 1001, 50_000] {
            let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert_eq!(read("identity", &body).unwrap(), (body.clone().into(), size));
        }
    }

    #[test]
    fn a_cut_stream_is_told_from_a_whole_one() {
        let body: Vec<u8> = (0..50_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let (gzip, zstd) = (gzip(&body), zstd::encode_all(&body[..], 3).unwrap());
        for (encoding, wire) in [("gzip", gzip), ("zstd", zstd)] {
            for cut in [1, 4, wire.len() / 2] {
                let error = read(encoding, &wire[..wire.len() - cut]).unwrap_err();
                assert_eq!(
                    (error.kind(), error.retry()),
                    (ErrorKind::Unavailable, Retry::Backoff),
                    "{encoding} -{cut}"
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_by_its_ratio_or_its_size() {
        let zeros = vec![0; 6 << 20];
        for (encoding, wire) in [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(&zeros[..], 3).unwrap())] {
            let error = read(encoding, &wire).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            assert!(error.to_string().contains("100:1"), "{error}");
        }
        let error = read("identity", &vec![b'x'; (8 << 20) + 1]).unwrap_err();
        assert!(error.to_string().contains("8388608 bytes"), "{error}");
        assert!(read("identity", &vec![b'x'; 8 << 20]).is_ok());
    }

    #[test]
    fn two_encodings_are_refused_declared_or_not() {
        let twice = gzip(&gzip(b"{}"));
        for encoding in ["gzip, gzip", "gzip"] {
            assert_eq!(read(encoding, &twice).unwrap_err().kind(), ErrorKind::Malformed);
        }
        assert_eq!(read("br", b"x").unwrap_err().kind(), ErrorKind::Malformed);
    }
}
