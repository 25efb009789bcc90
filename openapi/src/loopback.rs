use url::{Host, Url};

/// Whether an address leads to this machine, so that plain HTTP to it, with a token, is seen by nobody else. Of names `localhost` alone:
/// what is below it is a resolver's to answer.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_from_others() {
        let told = |url: &str| is_loopback(&Url::parse(url).unwrap());
        for url in ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9:80/a", "https://[::1]:5", "http://LOCALHOST"] {
            assert!(told(url), "{url}");
        }
        for url in ["http://localhost.example.com", "http://evil.localhost", "http://10.0.0.1", "http://[::2]", "http://0.0.0.0", "data:a"]
        {
            assert!(!told(url), "{url}");
        }
    }
}
