//! Which addresses may be reached: the public network, and loopback where the host names it itself (SSRF).
//!
//! Names are checked when they are resolved, and the connection goes to the very addresses that were checked, so a
//! name that changes its mind between check and use gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use sync_core::{Error, Result};
use url::{Host, Url};

/// Which networks a source may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// Public addresses, and loopback where the base address names it (`localhost`, `127.0.0.1`, `[::1]`).
    #[default]
    Public,
    /// Private and link-local addresses too. For a host that runs inside the network it reads from.
    Private,
}

/// Checks what can be checked without a look-up: scheme and literal addresses.
///
/// # Errors
/// `Config`, naming the host and the remedy.
pub(crate) fn check_literal(url: &Url, network: Network) -> Result<()> {
    let refuse = |why: &str| {
        let host = url.host_str().unwrap_or_default();
        Err(Error::config(format!("the address is refused: {why}")).with("host", host))
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it holds credentials; give them with an auth setting");
    }
    let (loopback, open) = match url.host() {
        Some(Host::Domain(name)) => (is_local_name(name), true),
        Some(Host::Ipv4(ip)) => (ip.is_loopback(), is_public(ip.into())),
        Some(Host::Ipv6(ip)) => (ip.is_loopback(), is_public(ip.into())),
        None => return refuse("it names no host"),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return refuse("plain http is for loopback only; use https"),
        _ => return refuse("use https"),
    }
    if !open && !loopback && network == Network::Public {
        return refuse("it is private, link-local or reserved; allow it with `allow_private_network`");
    }
    Ok(())
}

fn is_local_name(name: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// Whether an address belongs to the public network (IANA special-purpose registries, RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => embedded_v4(ip).map_or_else(|| is_public_v6(ip), is_public_v4),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let reserved = a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    // 169.254.169.254 is link-local; Azure's and Alibaba's metadata addresses are not.
    !reserved && ip != Ipv4Addr::new(168, 63, 129, 16) && ip != Ipv4Addr::new(100, 100, 100, 200)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Only 2000::/3 is global unicast; of it, 2001:db8::/32, 3fff::/20 and 2001::/23 are special.
    (a & 0xe000) == 0x2000 && !(a == 0x2001 && (b == 0x0db8 || b < 0x0200)) && !(a == 0x3fff && b < 0x1000)
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Resolves names and refuses those that lead into a network that is not allowed.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub(super) network: Network,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let network = self.network;
        Box::pin(async move {
            let host = name.as_str();
            let local = is_local_name(host);
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let allowed =
                |ip: IpAddr| network == Network::Private || if local { ip.is_loopback() } else { is_public(ip) };
            // One bad address among good ones is a rebinding attempt or a mistake; neither is to be guessed at.
            if found.iter().any(|address| !allowed(address.ip())) {
                return Err(Box::new(RefusedAddress) as _);
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A name led into a network that is not allowed.
#[derive(Debug)]
pub(super) struct RefusedAddress;

impl std::fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name leads to a private, link-local or reserved address")
    }
}

impl std::error::Error for RefusedAddress {}

impl CheckedResolver {
    pub(super) fn shared(network: Network) -> Arc<Self> {
        Arc::new(Self { network })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| check_literal(&url, Network::Public).is_ok())
    }

    #[test]
    fn public_addresses_over_https_are_let_through() {
        for url in
            ["https://api.example.com/v1", "https://1.1.1.1/", "https://[2606:4700::1111]/", "https://9.9.9.9:8443"]
        {
            assert!(check(url), "{url}");
        }
    }

    #[test]
    fn loopback_may_be_plain() {
        for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]/", "https://localhost"] {
            assert!(check(url), "{url}");
        }
    }

    #[test]
    fn private_reserved_and_disguised_addresses_are_refused() {
        let corpus = [
            "http://example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://user:pw@example.com",
            "https://10.0.0.1",
            "https://10.255.255.255",
            "https://172.16.0.1",
            "https://172.31.255.254",
            "https://192.168.0.1",
            "https://169.254.169.254",
            "https://169.254.0.1",
            "https://100.64.0.1",
            "https://100.100.100.200",
            "https://100.127.255.255",
            "https://0.0.0.0",
            "https://0.1.2.3",
            "https://192.0.0.192",
            "https://192.0.2.1",
            "https://198.18.0.1",
            "https://198.19.255.255",
            "https://198.51.100.1",
            "https://203.0.113.9",
            "https://224.0.0.1",
            "https://239.255.255.250",
            "https://240.0.0.1",
            "https://255.255.255.255",
            "https://168.63.129.16",
            "https://2852039166",
            "https://0xa9fea9fe",
            "https://0251.0376.0251.0376",
            "https://169.254.43518",
            "https://0xa.1",
            "https://[::]",
            "https://[fe80::1]",
            "https://[fc00::1]",
            "https://[fd00:ec2::254]",
            "https://[ff02::1]",
            "https://[::ffff:10.0.0.1]",
            "https://[::ffff:a9fe:a9fe]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://[2002:a9fe:a9fe::1]",
            "https://[2001:db8::1]",
            "https://[::10.0.0.1]",
            "https://[2001::1]",
            "https://[3fff::1]",
            "https://[100::1]",
            "http://10.0.0.1",
            "http://[fe80::1]",
            "gopher://127.0.0.1",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "https://192.88.99.1",
            "https://１０.0.0.1",
            "https://10。0。0。1",
            "data:text/plain,x",
            "https://",
            "http://0x7f.1.example",
            "https://[::ffff:0:0]",
            "https://[64:ff9b::10.1.1.1]",
            "https://[2002:0a00:0001::]",
        ];
        for url in corpus {
            assert!(!check(url), "{url}");
        }
    }

    #[test]
    fn a_host_may_allow_its_own_network() {
        let url = Url::parse("https://10.0.0.1").unwrap();
        assert!(check_literal(&url, Network::Private).is_ok());
    }
}
