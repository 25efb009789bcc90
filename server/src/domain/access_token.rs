//! Personal access tokens: their form, and who may make and revoke which.

use alpine_api::Scope;
use aws_lc_rs::rand::SecureRandom;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{
    Fault,
    principal::{Access, Principal, Via},
};

/// How many tokens a principal may have that are neither expired nor revoked.
pub const LIVE_MAX: i64 = 50;
/// For how many days a token may be good.
pub const DAYS: std::ops::RangeInclusive<i32> = 1..=365;
/// In characters.
pub const NAME_MAX: usize = 100;

const RANDOM_BYTES: usize = 32;
/// The least that holds 256 bits: 62^43 > 2^256.
const BODY_DIGITS: usize = 43;
/// The least that holds 32 bits: 62^6 > 2^32.
const CHECKSUM_DIGITS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `alpine_pat_`, 32 random bytes in base 62, and the CRC-32 of all that in base 62: whoever finds one, a scanner or this
/// server, can tell it from a string that only looks alike without asking anybody.
#[derive(Debug, Clone)]
pub struct AccessToken(SecretString);

/// What cannot be a token: its form or its checksum is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an access token")]
pub struct BadToken;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes can be had")]
pub struct NoRandomness;

/// Why a well-formed token proves nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    Unknown,
    Expired,
    Revoked,
}

impl AccessToken {
    pub const PREFIX: &'static str = "alpine_pat_";

    pub fn generate(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        let mut bytes = [0; RANDOM_BYTES];
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self::of(bytes))
    }

    fn of(bytes: [u8; RANDOM_BYTES]) -> Self {
        // Of its final size from the start: growing would leave copies of it behind.
        let mut text = String::with_capacity(Self::PREFIX.len() + BODY_DIGITS + CHECKSUM_DIGITS);
        text.push_str(Self::PREFIX);
        push_base62(&mut text, bytes, BODY_DIGITS);
        let checksum = crc32fast::hash(text.as_bytes());
        push_base62(&mut text, checksum.to_be_bytes(), CHECKSUM_DIGITS);
        Self(SecretString::from(text))
    }

    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(BadToken)?;
        if digits.len() != BODY_DIGITS + CHECKSUM_DIGITS || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(BadToken);
        }
        let (body, checksum) = text.split_at_checked(Self::PREFIX.len() + BODY_DIGITS).ok_or(BadToken)?;
        let mut expected = String::with_capacity(CHECKSUM_DIGITS);
        push_base62(&mut expected, crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECKSUM_DIGITS);
        if checksum == expected { Ok(Self(SecretString::from(text))) } else { Err(BadToken) }
    }

    /// All that is kept of it. A slow hash would protect what can be guessed; 256 random bits cannot, and a digest that
    /// is the same every time is what an index finds.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// For the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The big-endian number in base 62, with leading zeros.
fn push_base62<const N: usize>(text: &mut String, mut number: [u8; N], digits: usize) {
    let mut reversed = [b'0'; BODY_DIGITS];
    for digit in &mut reversed[..digits] {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest * 256 + usize::from(*byte);
            // Below 256, as `rest` is below 62.
            *byte = (value / DIGITS.len()) as u8;
            rest = value % DIGITS.len();
        }
        *digit = DIGITS[rest];
    }
    text.extend(reversed[..digits].iter().rev().map(|digit| char::from(*digit)));
}

/// May `by` make a token that is good for this? A token begets no tokens: one that leaks would outlive its own end.
pub fn may_make(by: &Principal, scopes: &[Scope]) -> Result<(), Fault> {
    if by.via != Via::Jwt {
        return Err(Fault::SignInRequired);
    }
    if let Some(lacking) = scopes.iter().find(|scope| !by.scopes.has(**scope)) {
        return Err(Fault::ScopeMissing(*lacking));
    }
    if scopes.contains(&Scope::Admin) && !by.is_admin() {
        return Err(Fault::RoleMissing("alpine.admin"));
    }
    Ok(())
}

/// May `by` revoke a token of `owner` that is good for this? Another's is no more to be seen than one that is not there.
pub fn may_revoke(by: &Principal, owner: &str, scopes: &[Scope]) -> Result<Access, Fault> {
    match by.access(owner) {
        Access::Denied => Err(Fault::NotFound("token")),
        Access::AsAdmin => Ok(Access::AsAdmin),
        // With a token: none of more power than it has itself.
        Access::Own => match scopes.iter().find(|scope| !by.scopes.has(**scope)) {
            Some(lacking) if !by.is_admin() => Err(Fault::ScopeMissing(*lacking)),
            _ => Ok(Access::Own),
        },
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::principal::{PrincipalId, Roles, TenantId};

    fn form() -> usize {
        AccessToken::PREFIX.len() + BODY_DIGITS + CHECKSUM_DIGITS
    }

    #[test]
    fn a_new_token_is_of_its_form_and_reads_back() {
        let token = AccessToken::generate(&SystemRandom::new()).unwrap();
        let text = token.expose();
        assert!(text.starts_with("alpine_pat_") && text.len() == 60 && text[11..].bytes().all(|b| b.is_ascii_alphanumeric()), "{text}");
        assert_eq!(AccessToken::parse(text).unwrap().sha256(), token.sha256());
        assert_ne!(AccessToken::generate(&SystemRandom::new()).unwrap().expose(), text);
    }

    #[test]
    fn the_two_ends_of_the_range_have_the_same_length_and_the_form_never_changes() {
        // Computed by another program: Python's int and zlib.crc32.
        let lowest = "alpine_pat_000000000000000000000000000000000000000000039GRVU";
        let highest = "alpine_pat_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp100WFXI";
        assert_eq!(AccessToken::of([0; 32]).expose(), lowest);
        assert_eq!(AccessToken::of([255; 32]).expose(), highest);
    }

    #[test]
    fn it_is_never_shown_by_accident() {
        let token = AccessToken::of([7; 32]);
        assert!(!format!("{token:?}").contains(&token.expose()[11..20]));
    }

    #[test]
    fn what_is_not_exactly_a_token_is_none() {
        let text = AccessToken::of([7; 32]).expose().to_owned();
        let cut = &text[..text.len() - 1];
        for bad in ["", "alpine_pat_", cut, &format!("{text}0"), &format!(" {text}"), &format!("{cut}é"), &text.to_uppercase()] {
            assert_eq!(AccessToken::parse(bad).map(|_| ()), Err(BadToken), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_character_anywhere_is_seen(bytes: [u8; 32], at in 0..60_usize, with in "[0-9A-Za-z]") {
            let text = AccessToken::of(bytes).expose().to_owned();
            prop_assert_eq!(text.len(), form());
            prop_assert!(AccessToken::parse(&text).is_ok());
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, &with);
            prop_assert_eq!(AccessToken::parse(&wrong).is_ok(), wrong == text);
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text: String) {
            prop_assert!(AccessToken::parse(&text).is_err());
            let prefixed = AccessToken::parse(&format!("alpine_pat_{text}"));
            prop_assert!(prefixed.is_err());
        }
    }

    fn principal(admin: bool, via: Via, scopes: &[Scope]) -> Principal {
        let (tenant, id) = (TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap());
        Principal { scopes: scopes.iter().copied().collect(), via, ..Principal::new(tenant, id, Roles { admin, operator: false }) }
    }

    const READ: Scope = Scope::SessionsRead;
    const WRITE: Scope = Scope::SessionsWrite;

    #[test]
    fn tokens_are_made_after_signing_in_and_admin_ones_by_admins() {
        let member = principal(false, Via::Jwt, &Scope::ALL);
        assert_eq!(may_make(&member, &[READ, WRITE]), Ok(()));
        assert_eq!(may_make(&member, &[READ, Scope::Admin]), Err(Fault::RoleMissing("alpine.admin")));
        assert_eq!(may_make(&principal(true, Via::Jwt, &Scope::ALL), &Scope::ALL), Ok(()));
        assert_eq!(may_make(&principal(true, Via::Jwt, &[READ]), &[WRITE]), Err(Fault::ScopeMissing(WRITE)));
        assert_eq!(may_make(&principal(true, Via::AccessToken, &Scope::ALL), &[READ]), Err(Fault::SignInRequired));
    }

    #[test]
    fn a_token_revokes_none_of_more_power_than_its_own() {
        let signed_in = principal(false, Via::Jwt, &Scope::ALL);
        let script = principal(false, Via::AccessToken, &[WRITE]);
        let admin = principal(true, Via::AccessToken, &[WRITE, Scope::Admin]);
        assert_eq!(may_revoke(&signed_in, "ann", &Scope::ALL), Ok(Access::Own));
        assert_eq!(may_revoke(&script, "ann", &[WRITE]), Ok(Access::Own));
        assert_eq!(may_revoke(&script, "ann", &[READ, WRITE]), Err(Fault::ScopeMissing(READ)));
        assert_eq!(may_revoke(&admin, "ann", &[READ]), Ok(Access::Own));
        assert_eq!(may_revoke(&admin, "bob", &[READ]), Ok(Access::AsAdmin));
        assert_eq!(may_revoke(&signed_in, "bob", &[READ]), Err(Fault::NotFound("token")));
    }
}
