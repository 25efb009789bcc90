//! Followers against a ledger that is only numbers: whatever comes in whichever order, each has everything once.

use std::collections::HashMap;

use alpine_api::{LogChunk, LogSource, SessionState};
use chrono::DateTime;
use futures_util::FutureExt;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    feeds::{Due, Feeds, Head},
    follower::follow,
    *,
};

const PAGE: usize = 3;
const AT_ONCE: usize = 4;

#[derive(Debug, Clone)]
enum Act {
    /// So many more pieces are committed.
    Commit(u8),
    /// And the hint is heard: or it is lost.
    Hint,
    /// What is due is read; and what was read is told, later.
    Take,
    Publish,
    Poll,
    /// A watcher does one thing: reads a first page, subscribes, reads a page, takes a page in, takes what is told.
    Step(usize),
    /// Its connection breaks; it comes again where it was.
    Cut(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (1..20_u8).prop_map(Act::Commit),
        3 => Just(Act::Hint),
        3 => Just(Act::Take),
        3 => Just(Act::Publish),
        1 => Just(Act::Poll),
        12 => (0..3_usize).prop_map(Act::Step),
        1 => (0..3_usize).prop_map(Act::Cut),
    ]
}

#[derive(Default)]
struct Watcher {
    had: Vec<i64>,
    /// A first page that was read; nothing is subscribed yet.
    first: Option<Page<LogChunk>>,
    follower: Option<Follower<LogChunk>>,
    page: Option<Page<LogChunk>>,
    over: bool,
}

#[derive(Default)]
struct Stage {
    head: i64,
    over: bool,
    feeds: Arc<Feeds>,
    /// What was read and is not told yet.
    read: Vec<(SessionId, Vec<LogChunk>, bool)>,
    watchers: [Watcher; 3],
}

fn session() -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(7))
}

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn piece(seq: i64) -> LogChunk {
    LogChunk { seq, at: DateTime::UNIX_EPOCH, source: LogSource::Git, text: String::new() }
}

impl Stage {
    fn after(&self, after: i64, most: usize) -> Vec<LogChunk> {
        (after + 1..=self.head).take(most).map(piece).collect()
    }

    fn page(&self, after: i64) -> Page<LogChunk> {
        let items = self.after(after, PAGE);
        Page { short: items.len() < PAGE, items, head: self.head, over: self.over }
    }

    fn take(&mut self) {
        let due: Due = self.feeds.take_due::<LogChunk>();
        for (session, _, after) in due {
            let items = self.after(after, AT_ONCE);
            let more = items.len() == AT_ONCE;
            self.read.push((session, items, more));
        }
        let (_, heads) = self.feeds.take_heads_due();
        let state = if self.over { SessionState::Failed } else { SessionState::Ready };
        for session in heads {
            self.feeds.advance(Head { session: SessionId::from_uuid(session), state, event_seq: 0, log_seq: self.head });
        }
    }

    fn publish(&mut self) {
        for (session, items, more) in self.read.drain(..) {
            self.feeds.publish(session, items, more);
        }
    }

    fn step(&mut self, n: usize) {
        let last = self.watchers[n].had.last().copied().unwrap_or(0);
        if self.watchers[n].over {
            return;
        }
        let Some(mut follower) = self.watchers[n].follower.take() else {
            match self.watchers[n].first.take() {
                None => self.watchers[n].first = Some(self.page(last)),
                Some(first) => self.watchers[n].follower = Some(follow(&self.feeds, &tenant(), session(), last, first)),
            }
            return;
        };
        if let Some(page) = self.watchers[n].page.take() {
            follower.read(page);
        }
        match follower.next().now_or_never() {
            Some(Next::Item(item)) => self.watchers[n].had.push(item.seq),
            Some(Next::Read(after)) => self.watchers[n].page = Some(self.page(after)),
            Some(Next::Over) => self.watchers[n].over = true,
            None => {}
        }
        self.watchers[n].follower = Some(follower);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Commit(count) => self.head += i64::from(*count),
            Act::Hint => self.feeds.logged(session()),
            Act::Take => self.take(),
            Act::Publish => self.publish(),
            Act::Poll => self.feeds.all_due(),
            Act::Step(n) => self.step(*n),
            Act::Cut(n) => {
                let had = std::mem::take(&mut self.watchers[*n].had);
                self.watchers[*n] = Watcher { had, ..Watcher::default() };
            }
        }
    }

    /// Nothing more happens but polls, and everybody takes what there is.
    fn settle(&mut self) {
        let rounds = usize::try_from(self.head).unwrap() / 4 + 20;
        for _ in 0..rounds {
            self.feeds.all_due();
            // Heads, then what they show to be due.
            self.take();
            self.take();
            self.publish();
            for n in 0..self.watchers.len() {
                (0..8).for_each(|_| self.step(n));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_follower_has_everything_once_and_in_order(acts in proptest::collection::vec(act(), 1..150)) {
        let mut stage = Stage::default();
        for act in &acts {
            stage.act(act);
        }
        // Without anything that would come later and show what is missing.
        stage.settle();
        for watcher in &stage.watchers {
            prop_assert_eq!(&watcher.had, &(1..=stage.head).collect::<Vec<_>>());
        }
        stage.over = true;
        stage.settle();
        for watcher in &stage.watchers {
            prop_assert_eq!(&watcher.had, &(1..=stage.head).collect::<Vec<_>>());
            prop_assert!(watcher.over, "it ends when the session is over");
        }
        stage.watchers = <[Watcher; 3]>::default();
        prop_assert_eq!(stage.feeds.count(), 0, "nobody watches, and nothing is kept");
    }
}

#[test]
fn one_who_has_what_is_not_there_yet_keeps_nobody_from_what_is() {
    let mut stage = Stage { head: 5, ..Stage::default() };
    let mut ahead = follow(&stage.feeds, &tenant(), session(), i64::MAX, stage.page(i64::MAX - 1));
    stage.step(0);
    stage.step(0);
    stage.head = 9;
    stage.over = true;
    stage.settle();
    assert_eq!(stage.watchers[0].had, (1..=9).collect::<Vec<_>>());
    while let Some(next) = ahead.next().now_or_never() {
        match next {
            Next::Item(item) => panic!("{item:?} is not after the largest number"),
            Next::Read(after) => ahead.read(stage.page(after - 1)),
            Next::Over => return,
        }
    }
    panic!("it does not end");
}

#[test]
fn a_gap_that_is_in_the_ledger_too_is_one_that_is_passed_over() {
    let stage = Stage { head: 2, ..Stage::default() };
    let mut follower = follow(&stage.feeds, &tenant(), session(), 0, stage.page(0));
    let mut had = Vec::new();
    stage.feeds.publish(session(), vec![piece(8), piece(9)], false);
    while let Some(next) = follower.next().now_or_never() {
        match next {
            Next::Item(item) => had.push(item.seq),
            // What was before 8 is not kept any more.
            Next::Read(2) => follower.read(Page { items: vec![piece(8), piece(9)], short: true, head: 9, over: false }),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(had, [1, 2, 8, 9]);
}

#[tokio::test]
async fn each_waiter_is_handed_its_operation_and_an_end_just_before_is_remembered() {
    let ends = Arc::new(Ends::default());
    let [early, late] = [1, 2].map(|n| OperationId::from_uuid(Uuid::from_u128(n)));
    ends.told(early);
    let mut waiters: HashMap<_, _> = [early, late].map(|id| (id, [ends.wait(&tenant(), id), ends.wait(&tenant(), id)])).into();
    assert_eq!(ends.take_due(), (vec!["t".to_owned()], vec![early.uuid()]), "one read for both, and none for who may wait on");
    ends.told(late);
    assert_eq!(ends.take_due().1, [late.uuid()]);
    for id in [early, late] {
        ends.publish(operation(id, alpine_api::OperationStatus::Running));
        let [one, other] = waiters.get_mut(&id).unwrap();
        assert!(one.ended().now_or_never().is_none(), "it runs on");
        let (asked, ()) = tokio::join!(one.now(), async {
            assert_eq!(ends.take_due().1, [id.uuid()]);
            ends.publish(operation(id, alpine_api::OperationStatus::Succeeded));
        });
        assert_eq!((asked.operation_id, other.ended().await.operation_id), (id, id));
        assert_eq!(one.now().await.operation_id, id, "its end is there");
    }
    drop(waiters);
    assert_eq!((ends.count(), ends.all().1.len()), (0, 0));
}

fn operation(operation_id: OperationId, status: alpine_api::OperationStatus) -> alpine_api::Operation {
    alpine_api::Operation {
        operation_id,
        session_id: session(),
        kind: alpine_api::OperationKind::Up,
        status,
        state: SessionState::Requested,
        phase: "resolve".into(),
        created_at: DateTime::UNIX_EPOCH,
        finished_at: None,
        target_commit_sha: None,
        opencode_url: None,
        ready_at: None,
        durable_object_id: None,
        persisted_at: None,
        persistence_verified: false,
        error: None,
        next_step: None,
    }
}
