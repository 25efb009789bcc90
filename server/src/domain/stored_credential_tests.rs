use super::*;

/// Made for these tests; it opens nothing.
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n\
QyNTUxOQAAACB3GQNGoW4KmGOlk0cXcA5MGDNXnADbQFRc4JQmSLAHRwAAAIggXBxfIFwc\n\
XwAAAAtzc2gtZWQyNTUxOQAAACB3GQNGoW4KmGOlk0cXcA5MGDNXnADbQFRc4JQmSLAHRw\n\
AAAEBkbBRwgjnddlGK2NDj8haCp3Kb5MuMD3r21yCPBZ4L5HcZA0ahbgqYY6WTRxdwDkwY\n\
M1ecANtAVFzglCZIsAdHAAAABHRlc3QB\n\
-----END OPENSSH PRIVATE KEY-----\n";
const FINGERPRINT: &str = "SHA256:1D+YNb/J60jMZGWcalVMbq5aWbKhmWU59zjB+cmMZio";
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcZA0ahbgqYY6WTRxdwDkwYM1ecANtAVFzglCZIsAdH";
/// With the passphrase `pass`.
const ENCRYPTED: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABB6nwCzuK\n\
rogNbJrcZCcft1AAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIH57Fzbx5xHKPX/f\n\
hHH0VPFrpMF+wmlFxTbuQIp7nEs+AAAAkJNfHPlv3gg8rMk4ybrU4J/AMF2hPqz7GiTS4T\n\
Jkh/I6O9AlPt4iL1unOuZqqxg5qOuegGsPxsphkwv16iFPpMRVrnfzEIpZuNFAhGwQ83Lb\n\
W22RuNoYHwK8WwsI7dFLUYLMcqAwRTxyFcKdvs4kfUnibIY42FR6stGXN3hsafnCjpXng+\n\
w3LXEgRIBnT9/MTg==\n\
-----END OPENSSH PRIVATE KEY-----\n";

fn given(host: &str, kind: CredentialKind) -> SetCredential {
    SetCredential { host: host.into(), kind, owner: CredentialOwner::Me, token: None, private_key: None, known_hosts: None }
}

fn token(host: &str, token: &str) -> Result<NewCredential, BadCredential> {
    NewCredential::check(SetCredential { token: Some(token.into()), ..given(host, CredentialKind::Token) })
}

fn deploy_key(host: &str, key: &str, known_hosts: &str) -> Result<NewCredential, BadCredential> {
    let (private_key, known_hosts) = (Some(key.into()), Some(known_hosts.into()));
    NewCredential::check(SetCredential { private_key, known_hosts, ..given(host, CredentialKind::DeployKey) })
}

fn bad<T: std::fmt::Debug>(result: Result<T, BadCredential>) -> BadCredential {
    result.expect_err("it must be refused")
}

#[test]
fn the_host_of_a_credential_is_the_host_of_the_url_that_it_is_for() {
    let (https, ssh) = (CredentialKind::Token, CredentialKind::DeployKey);
    for (given, kind, url, text) in [
        ("github.com", https, "https://github.com/o/r", "github.com"),
        ("GitHub.com", https, "https://GITHUB.com:443/o/r", "github.com"),
        ("h.example:8443", https, "https://h.example:8443/o/r", "h.example:8443"),
        ("h.example:22", https, "https://h.example:22/o/r", "h.example:22"),
        ("127.0.0.1:1", https, "https://127.0.0.1:1/o/r", "127.0.0.1:1"),
        ("[::1]", https, "https://[::1]/o/r", "[::1]"),
        ("[::1]:9", https, "https://[::1]:9/o/r", "[::1]:9"),
        ("github.com", ssh, "git@GitHub.com:o/r", "github.com"),
        ("github.com:22", ssh, "ssh://git@github.com/o/r", "github.com"),
        ("github.com:443", ssh, "ssh://git@github.com:443/o/r", "github.com:443"),
    ] {
        let host = CredentialHost::parse(given, kind).unwrap_or_else(|error| panic!("{given}: {error}"));
        let url: RepoUrl = url.parse().unwrap();
        assert_eq!((&host, host.as_str(), kind_for(&url)), (&CredentialHost::of(&url), text, kind), "{given}");
    }
    for wrong in [
        "",
        " ",
        "a b",
        "user@h",
        "user:pw@h",
        "https://h",
        "h/",
        "h/x",
        "h?x",
        "h#x",
        "h:",
        "h:x",
        "h:99999",
        "-oProxy",
        "h\n",
        "h\0",
        "*.h",
        "%68",
        "::1",
        "a,b",
    ] {
        for kind in [https, ssh] {
            assert_eq!(bad(CredentialHost::parse(wrong, kind)), BadCredential::Host, "{wrong:?} {kind}");
        }
    }
}

#[test]
fn a_token_is_1_to_4096_bytes_without_control_characters() {
    let stored = token("h", " t0ken\n").unwrap();
    assert!(matches!(&stored.secret, GitCredential::Token(token) if token.expose_secret() == "t0ken"));
    assert!(token("h", &"x".repeat(4096)).is_ok());
    for wrong in ["", " \n", "a\nb", "a\0b", "a\u{7f}b", &"x".repeat(4097)] {
        assert_eq!(bad(token("h", wrong)), BadCredential::Token);
    }
}

#[test]
fn each_kind_needs_its_own_fields_and_no_others() {
    let all = SetCredential {
        token: Some("t".into()),
        private_key: Some(KEY.into()),
        known_hosts: Some(format!("h {PUBLIC}")),
        ..given("h", CredentialKind::Token)
    };
    let key = || SetCredential { kind: CredentialKind::DeployKey, token: None, ..all.clone() };
    assert!(NewCredential::check(key()).is_ok());
    assert_eq!(bad(NewCredential::check(all.clone())), BadCredential::NotAToken);
    assert_eq!(bad(NewCredential::check(given("h", CredentialKind::Token))), BadCredential::NotAToken);
    for wrong in [
        SetCredential { token: Some("t".into()), ..key() },
        SetCredential { private_key: None, ..key() },
        SetCredential { known_hosts: None, ..key() },
        given("h", CredentialKind::DeployKey),
    ] {
        assert_eq!(bad(NewCredential::check(wrong)), BadCredential::NotADeployKey);
    }
}

#[test]
fn a_deploy_key_is_an_openssh_or_pem_private_key_without_a_passphrase() {
    let hosts = format!("h {PUBLIC}");
    let check = |key: &str| deploy_key("h", key, &hosts);
    assert_eq!(check(KEY).unwrap().fingerprint.as_deref(), Some(FINGERPRINT));
    let dos = check(&format!("\n{}\n\n", KEY.trim().replace('\n', "\r\n"))).unwrap();
    let GitCredential::DeployKey { private_key, .. } = &dos.secret else { panic!("not a key") };
    assert_eq!(private_key.expose_secret(), KEY, "as ssh reads it");
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(check(&pem).unwrap().fingerprint, None);

    assert_eq!(bad(check(ENCRYPTED)), BadCredential::Encrypted);
    assert_eq!(bad(check(&pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))), BadCredential::Encrypted);
    let headers =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(bad(check(headers)), BadCredential::Encrypted);
    let half = &KEY[..KEY.len() / 2];
    for wrong in [
        "",
        "t0ken",
        half,
        PUBLIC,
        &KEY.replace("OPENSSH", "OPENSSL"),
        &KEY.replace("b3BlbnNz", "AAAAAAAA"),
        &format!("x\n{KEY}"),
        &format!("{KEY}x\n"),
        &format!("{KEY}{KEY}"),
        &pem.replace("PRIVATE KEY", "CERTIFICATE"),
        &pem.replace("PRIVATE KEY", "PUBLIC KEY"),
        &format!("{KEY}{}", " ".repeat(16 * 1024)),
    ] {
        assert_eq!(bad(check(wrong)), BadCredential::PrivateKey, "{wrong}");
    }
}

#[test]
fn host_keys_are_pinned_for_the_host_itself_in_clear() {
    let hosts = |host: &str, lines: &str| {
        deploy_key(host, KEY, lines).map(|new| match new.secret {
            GitCredential::DeployKey { known_hosts, .. } => known_hosts,
            GitCredential::Token(_) => panic!("not a key"),
        })
    };
    let line = format!("h {PUBLIC}\n");
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDH1Q==";
    assert_eq!(hosts("h", &line), Ok(line.clone()));
    assert_eq!(hosts("H", &format!("# a comment\n\n  H,192.0.2.1\t{PUBLIC} someone@there\r\n")), Ok(line.clone()));
    assert_eq!(hosts("h", &format!("{line}h {ecdsa}\n")), Ok(format!("{line}h {ecdsa}\n")));
    assert_eq!(hosts("h:2222", &format!("[h]:2222 {PUBLIC}")), Ok(format!("[h]:2222 {PUBLIC}\n")));
    assert_eq!(hosts("[::1]", &format!("::1 {PUBLIC}")), Ok(format!("::1 {PUBLIC}\n")));

    for (host, lines, why) in [
        ("h", String::new(), BadCredential::KnownHosts),
        ("h", "# nothing\n".into(), BadCredential::KnownHosts),
        ("h", "h".into(), BadCredential::KnownHosts),
        ("h", "h ssh-ed25519".into(), BadCredential::KnownHosts),
        ("h", "h ssh-ed25519 !!!!".into(), BadCredential::KnownHosts),
        ("h", format!("h {rsa}"), BadCredential::KnownHosts),
        ("h", format!("h {}", PUBLIC.replace("ssh-ed25519", "ssh-rsa")), BadCredential::KnownHosts),
        ("h", format!("h {PUBLIC}\0"), BadCredential::KnownHosts),
        ("h", format!("{line}{}", "#".repeat(8 * 1024)), BadCredential::KnownHosts),
        ("h", format!("@cert-authority h {PUBLIC}"), BadCredential::Marker),
        ("h", format!("@revoked h {PUBLIC}"), BadCredential::Marker),
        ("h", format!("* {PUBLIC}"), BadCredential::Hidden),
        ("h", format!("h,!x {PUBLIC}"), BadCredential::Hidden),
        ("h", format!("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {PUBLIC}"), BadCredential::Hidden),
        ("h", format!("other {PUBLIC}"), BadCredential::OtherHost),
        ("h", format!("{line}other {PUBLIC}"), BadCredential::OtherHost),
        ("h", format!("[h]:2222 {PUBLIC}"), BadCredential::OtherHost),
        ("h:2222", line.clone(), BadCredential::OtherHost),
    ] {
        assert_eq!(hosts(host, &lines), Err(why), "{lines}");
    }
}

#[test]
fn a_refusal_never_repeats_what_was_sent() {
    for error in [bad(token("s3cr3t@h", "s3cr3t")), bad(token("h", "s3cr3t\n1")), bad(deploy_key("h", "s3cr3t", "s3cr3t"))] {
        assert!(!format!("{error} {error:?}").contains("s3cr3t"));
    }
}
