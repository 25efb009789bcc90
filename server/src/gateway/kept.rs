//! Connections to sessions' programs that an exchange has left in order: the same visitor's next one goes on with one.
//!
//! Such a connection leads to the session's own program for as long as it lasts, whoever comes to the port later. What a program leaves on it by
//! some fault of its own is seen by no other visitor: no two share one.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Body;
use hyper::client::conn::http1::SendRequest;
use tokio::{runtime, task::AbortHandle, time::Instant};

use crate::{
    domain::{
        apps::App,
        principal::{PrincipalId, TenantId},
    },
    sandbox::Listener,
};

/// Less than most programs keep one that is idle (Node 5 s, nginx 75 s); where it is more, there is a new one.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// However much it is used.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// As many as a browser has to one host, and some.
const OF_ONE: usize = 16;
/// Each takes one of the files that are set aside for what is not a caller's connection.
const OF_ALL: usize = 256;

/// Whose it is: nobody else's request goes the same way. All who have one public link are one principal, and none is kept for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub app: App,
    pub tenant: TenantId,
    pub principal: PrincipalId,
    /// Where it is served: what waits on another one's thread is woken across both at each step.
    pub runtime: runtime::Id,
}

/// A connection on which one exchange after the other is had.
#[derive(Debug)]
pub struct Line {
    pub sender: SendRequest<Body>,
    pub connection: AbortHandle,
    pub made: Instant,
    /// Where it was made to.
    pub listener: Listener,
}

#[derive(Debug, Default)]
pub struct Kept(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    idle: HashMap<Owner, Vec<(Instant, Line)>>,
    count: usize,
}

impl Kept {
    /// The one that was used last: it is the least likely to be given up by the other side. Only of those who listen there now.
    pub fn take(&self, owner: &Owner, listener: &Listener) -> Option<Line> {
        let mut lines = self.lines();
        let of_one = lines.idle.get_mut(owner)?;
        let before = of_one.len();
        let mut found = None;
        while let Some((at, line)) = of_one.pop() {
            if is_good(at, &line) && line.listener.is_same(listener) {
                found = Some(line);
                break;
            }
        }
        let now = of_one.len();
        if now == 0 {
            lines.idle.remove(owner);
        }
        lines.count -= before - now;
        found
    }

    pub fn put(&self, owner: Owner, line: Line) {
        let mut lines = self.lines();
        if lines.count >= OF_ALL {
            return;
        }
        let of_one = lines.idle.entry(owner).or_default();
        if of_one.len() < OF_ONE {
            of_one.push((Instant::now(), line));
            lines.count += 1;
        }
    }

    /// Close those that nobody came for.
    pub fn sweep(&self) {
        let mut lines = self.lines();
        lines.idle.retain(|_, of_one| {
            of_one.retain(|(at, line)| is_good(*at, line));
            !of_one.is_empty()
        });
        lines.count = lines.idle.values().map(Vec::len).sum();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_good(at: Instant, line: &Line) -> bool {
    at.elapsed() < KEPT_FOR && line.made.elapsed() < GOOD_FOR && !line.sender.is_closed()
}

#[cfg(test)]
mod tests {
    use alpine_api::SessionId;
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;
    use tokio::runtime::Handle;

    use super::*;
    use crate::sandbox::{Endpoint, HeldSocket};

    fn owner(app: App, principal: &str) -> Owner {
        Owner {
            app,
            tenant: TenantId::parse("t").unwrap(),
            principal: PrincipalId::parse(principal).unwrap(),
            runtime: Handle::current().id(),
        }
    }

    fn listener(socket: &str) -> Listener {
        let held = HeldSocket { pid: 1, start: 1, descriptor: "/proc/1/fd/3".into(), socket: socket.into() };
        Listener { endpoint: Endpoint { host: "127.0.0.1".into(), port: 1 }, held: vec![held] }
    }

    fn take(kept: &Kept, owner: &Owner) -> Option<Line> {
        kept.take(owner, &listener("socket:[1]"))
    }

    /// With the other side of it.
    async fn line() -> (Line, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (sender, connection) = handshake(TokioIo::new(ours)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        (Line { sender, connection, made: Instant::now(), listener: listener("socket:[1]") }, theirs)
    }

    fn is_empty(kept: &Kept) -> bool {
        let lines = kept.lines();
        lines.count == 0 && lines.idle.is_empty()
    }

    #[tokio::test]
    async fn a_connection_is_one_visitors_and_one_hosts_and_one_runtimes() {
        let (kept, app) = (Kept::default(), App::of(SessionId::generate()));
        let (line, _theirs) = line().await;
        kept.put(owner(app, "ann"), line);
        let port = App { port: std::num::NonZeroU16::new(3000), ..app };
        let another = runtime::Builder::new_current_thread().build().unwrap();
        let elsewhere = Owner { runtime: another.handle().id(), ..owner(app, "ann") };
        another.shutdown_background();
        for other in [owner(app, "bob"), owner(port, "ann"), owner(App::of(SessionId::generate()), "ann"), elsewhere] {
            assert!(take(&kept, &other).is_none(), "{other:?}");
        }
        assert!(take(&kept, &owner(app, "ann")).is_some());
        assert!(take(&kept, &owner(app, "ann")).is_none(), "once");
    }

    #[tokio::test]
    async fn one_that_the_program_has_closed_or_that_is_old_is_none() {
        let (kept, ann) = (Kept::default(), owner(App::of(SessionId::generate()), "ann"));
        let (closed, theirs) = line().await;
        kept.put(ann.clone(), closed);
        drop(theirs);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(take(&kept, &ann).is_none());
        let (old, _theirs) = line().await;
        kept.put(ann.clone(), Line { made: Instant::now() - GOOD_FOR, ..old });
        assert!(take(&kept, &ann).is_none(), "however much it was used");
        let (left, _theirs) = line().await;
        kept.put(ann.clone(), Line { listener: listener("socket:[2]"), ..left });
        assert!(take(&kept, &ann).is_none(), "another listens there now");
        let (old, _theirs) = line().await;
        let at = Instant::now() - KEPT_FOR;
        kept.put(ann.clone(), old);
        kept.lines().idle.values_mut().flatten().for_each(|(put, _)| *put = at);
        assert!(take(&kept, &ann).is_none());
        assert!(is_empty(&kept));
    }

    #[tokio::test]
    async fn there_are_no_more_than_so_many_and_none_that_nobody_came_for() {
        let (kept, app) = (Kept::default(), App::of(SessionId::generate()));
        let mut ends = Vec::new();
        for number in 0..OF_ALL + 40 {
            let (line, theirs) = line().await;
            ends.push(theirs);
            kept.put(owner(app, &format!("p{}", number / (OF_ONE + 1))), line);
        }
        let most = kept.lines().idle.values().map(Vec::len).max();
        let count = kept.lines().count;
        assert_eq!((count, most), (OF_ALL, Some(OF_ONE)));
        drop(ends);
        tokio::time::sleep(Duration::from_millis(50)).await;
        kept.sweep();
        assert!(is_empty(&kept));
    }
}
