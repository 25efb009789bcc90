//! Reservations. A live session holds a slot, and with it a user id and ports that no other session of this
//! root has. One file a slot, named `<number>.<session id>`, whose content says whose it is.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use alpine_api::SessionId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{flock::Held, processes::User};
use crate::sandbox::SandboxSpec;

/// Live sessions a root has room for.
const COUNT: u32 = 1_000;
/// User ids come in blocks of `COUNT`; the root's path chooses the block, so that two servers on one host
/// rarely share one.
const FIRST_UID: u32 = 1_000_000;
const BLOCKS: u32 = 59_000;
/// Below the range from which the kernel takes ports for outgoing connections.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

#[derive(Debug)]
pub(super) struct Slots {
    dir: PathBuf,
    first_uid: u32,
    port_offset: u16,
}

/// For whom a slot is held: enough to list a sandbox whose making was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    pub tenant: String,
    pub session: SessionId,
    pub fence: i64,
}

impl Label {
    pub fn of(spec: &SandboxSpec) -> Self {
        Self { tenant: spec.tenant.as_str().to_owned(), session: spec.session, fence: spec.fence }
    }
}

impl Slots {
    pub fn new(root: &Path) -> io::Result<Self> {
        let dir = root.join(".slots");
        super::layout::make_dir(&dir, 0o700)?;
        let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let number = |at: usize| u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]);
        let port_offset = u16::try_from(number(4) % u32::from(PORTS)).unwrap_or_default();
        Ok(Self { dir, first_uid: FIRST_UID + number(0) % BLOCKS * COUNT, port_offset })
    }

    pub const fn uid(&self, slot: u32) -> u32 {
        self.first_uid + slot
    }

    pub const fn users(&self) -> User {
        User::OneOf(self.first_uid, COUNT)
    }

    /// The first of this slot's ports that can be bound now. No two slots of a root share a port.
    pub fn free_port(&self, slot: u32) -> Option<u16> {
        let candidates = (0..u32::from(PORTS) / COUNT).filter_map(|turn| {
            let at = (u32::from(self.port_offset) + slot + turn * COUNT) % u32::from(PORTS);
            u16::try_from(at).ok().map(|at| FIRST_PORT + at)
        });
        candidates.into_iter().find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
    }

    /// The session's slot; if it has none yet, the lowest free one that is also `usable`. `None`: there is
    /// none left.
    pub fn reserve(&self, label: &Label, usable: impl Fn(u32) -> bool) -> io::Result<Option<u32>> {
        // Two servers may share a root.
        let directory = Held::lock(File::open(&self.dir)?)?;
        let held = self.names()?;
        if let Some((slot, _)) = held.iter().find(|(_, session)| *session == label.session) {
            return Ok(Some(*slot));
        }
        let Some(free) = (0..COUNT).find(|slot| held.iter().all(|(taken, _)| taken != slot) && usable(*slot)) else {
            return Ok(None);
        };
        let partial = self.dir.join(".partial");
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec(label)?)?;
        file.sync_all()?;
        fs::rename(&partial, self.path(free, label.session))?;
        directory.sync_all()?;
        Ok(Some(free))
    }

    pub fn find(&self, session: SessionId) -> io::Result<Option<u32>> {
        Ok(self.names()?.into_iter().find_map(|(slot, holder)| (holder == session).then_some(slot)))
    }

    pub fn release(&self, session: SessionId) -> io::Result<()> {
        for (slot, holder) in self.names()? {
            if holder == session {
                match fs::remove_file(self.path(slot, session)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub fn label(&self, session: SessionId) -> Option<Label> {
        let slot = self.find(session).ok().flatten()?;
        serde_json::from_slice(&fs::read(self.path(slot, session)).ok()?).ok()
    }

    pub fn sessions(&self) -> io::Result<Vec<SessionId>> {
        Ok(self.names()?.into_iter().map(|(_, session)| session).collect())
    }

    fn path(&self, slot: u32, session: SessionId) -> PathBuf {
        self.dir.join(format!("{slot}.{session}"))
    }

    /// Sorted by slot.
    fn names(&self) -> io::Result<Vec<(u32, SessionId)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let parsed = name.to_str().and_then(|name| name.split_once('.')).map(|(slot, id)| (slot.parse(), id.parse()));
            if let Some((Ok(slot), Ok(session))) = parsed {
                names.push((slot, session));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label { tenant: "t".into(), session: SessionId::generate(), fence: 1 }
    }

    #[test]
    fn a_session_keeps_its_slot_and_no_two_share_one() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path()).unwrap();
        let (one, two) = (label(), label());
        let first = slots.reserve(&one, |_| true).unwrap().unwrap();
        assert_eq!(slots.reserve(&one, |_| true).unwrap(), Some(first));
        let second = slots.reserve(&two, |_| true).unwrap().unwrap();
        assert_ne!(first, second);
        assert_ne!(slots.free_port(first).unwrap(), slots.free_port(second).unwrap());
        slots.release(one.session).unwrap();
        assert_eq!(slots.find(one.session).unwrap(), None);
        assert_eq!(slots.reserve(&label(), |_| true).unwrap(), Some(first), "a released slot is used again");
        assert_eq!(slots.label(two.session), Some(two));
        assert_ne!(slots.reserve(&label(), |slot| slot != 2).unwrap(), Some(2), "not usable");
    }

    #[test]
    fn a_taken_port_is_passed_over_and_ports_stay_out_of_the_ephemeral_range() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path()).unwrap();
        let port = slots.free_port(7).unwrap();
        let _stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let other = slots.free_port(7).unwrap();
        assert_ne!(port, other);
        assert!((20_000..30_000).contains(&port) && (20_000..30_000).contains(&other));
    }

    #[test]
    fn a_full_root_says_so() {
        let root = tempfile::tempdir().unwrap();
        let slots = Slots::new(root.path()).unwrap();
        for slot in 0..COUNT {
            File::create(slots.path(slot, SessionId::generate())).unwrap();
        }
        assert_eq!(slots.reserve(&label(), |_| true).unwrap(), None);
    }
}
