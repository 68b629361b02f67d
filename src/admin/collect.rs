//! Gathers what the cores have: asks every one, waits a moment for their answers, and keeps the sums. Not
//! what is shown of it.

use super::desk::{AdminDesk, Ask, Desks, N_TURNED_AWAY, Shared};
use crate::shard::census::{Answer, Question, Seen, SeenSubscription};
use crate::shard::counters::Counters;
use crate::shard::latency::Latencies;
use crate::time::Time;
use crossbeam_channel::TrySendError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long a core may take to answer. A turn takes microseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Everything the cores have said so far.
pub struct Collection {
    pub shared: Arc<Shared>,
    state: Mutex<State>,
    askers: Vec<Asker>,
    /// One walk through the cores at a time.
    looks: Semaphore,
    wake: Box<dyn Fn(usize) + Send + Sync>,
    now: Box<dyn Fn() -> Time + Send + Sync>,
}

type Asker = crossbeam_channel::Sender<Ask>;

/// A connection, and the core that it is on.
#[derive(Clone, Debug)]
pub struct Found {
    core_idx: usize,
    pub seen: Seen,
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    cores: Vec<Core>,
    latencies: Latencies,
}

#[derive(Debug)]
struct Core {
    desk: AdminDesk,
    /// The set that is not in the core's hands; none while it is asked.
    spare: Option<Box<Latencies>>,
}

/// What there was at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub cores: Vec<CoreSnapshot>,
    pub latencies: Latencies,
    /// Connections turned away: for their number, and for want of descriptors.
    pub n_turned_away: [u64; N_TURNED_AWAY],
    pub n_delayed: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct CoreSnapshot {
    pub counters: Counters,
    /// It answered in time: its counters are of now.
    pub has_answered: bool,
}

impl Snapshot {
    /// All cores together.
    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        self.cores.iter().for_each(|core| total.add(&core.counters));
        total
    }
}

impl Collection {
    pub fn new(
        desks: Desks,
        wake: Box<dyn Fn(usize) + Send + Sync>,
        now: Box<dyn Fn() -> Time + Send + Sync>,
    ) -> Self {
        let Desks { cores, shared } = desks;
        let askers = cores.iter().map(|desk| desk.asks.clone()).collect();
        let cores = cores.into_iter().map(|desk| Core { desk, spare: Some(Box::default()) }).collect();
        let state = Mutex::new(State { cores, latencies: Latencies::default() });
        Self { shared, state, askers, looks: Semaphore::new(1), wake, now }
    }

    pub fn now(&self) -> Time {
        (self.now)()
    }

    /// The open connections that are wanted, of all cores that answer.
    pub async fn connections(&self, wants: impl Fn(&Seen) -> bool) -> Vec<Found> {
        let _walk = self.looks.acquire().await;
        let mut all = Vec::new();
        for core_idx in 0..self.askers.len() {
            let mut from = Some(0);
            while let Some(place) = from
                && let Some(Answer::Connections { found, next }) =
                    self.look(core_idx, Question::Connections { from: place }).await
            {
                from = next;
                all.extend(found.into_iter().filter(&wants).map(|seen| Found { core_idx, seen }));
            }
        }
        all
    }

    /// The wanted among those that have ended and are still remembered.
    pub async fn ended(&self, wants: impl Fn(&Seen) -> bool) -> Vec<Found> {
        let _walk = self.looks.acquire().await;
        let mut all = Vec::new();
        for core_idx in 0..self.askers.len() {
            let mut from = Some(0);
            while let Some(place) = from
                && let Some(Answer::Ended { found, next }) =
                    self.look(core_idx, Question::Ended { from: place }).await
            {
                from = next;
                all.extend(found.into_iter().filter(&wants).map(|seen| Found { core_idx, seen }));
            }
        }
        all
    }

    /// A connection's subscriptions; none where it has gone meanwhile.
    pub async fn subscriptions(&self, one: &Found) -> Vec<SeenSubscription> {
        let _walk = self.looks.acquire().await;
        let (mut all, mut from) = (Vec::new(), Some(0));
        while let Some(key) = from
            && let Some(Answer::Subscriptions { found, next }) =
                self.look(one.core_idx, Question::Subscriptions { of: one.seen.id, from: key }).await
        {
            from = next;
            all.extend(found);
        }
        all
    }

    /// One core's answer, if it comes in time.
    async fn look(&self, core_idx: usize, question: Question) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        // There is room for one look, unless the core is so late that its last asker has given up.
        self.askers[core_idx].try_send(Ask::Look(question, answer)).ok()?;
        (self.wake)(core_idx);
        tokio::time::timeout(ANSWER_WITHIN, answered).await.ok()?.ok()
    }

    /// Asks all cores. What one has done before this was called is in the answer.
    pub async fn snapshot(&self) -> Snapshot {
        let mut state = self.state.lock().await;
        let State { cores, latencies } = &mut *state;
        // A core that has not answered the last time may have done so since; it is asked again.
        for (core_idx, core) in cores.iter_mut().enumerate() {
            while let Ok(recorded) = core.desk.answers.try_recv() {
                core.take_over(recorded, latencies);
            }
            if let Some(spare) = core.spare.take() {
                // Full only where looks have piled up at a core that does not answer.
                match core.desk.asks.try_send(Ask::Latencies(spare)) {
                    Err(TrySendError::Full(Ask::Latencies(spare))) => core.spare = Some(spare),
                    _ => (self.wake)(core_idx),
                }
            }
        }
        let until = Instant::now() + ANSWER_WITHIN;
        let mut snapshots = Vec::new();
        for core in cores.iter_mut() {
            let answer = timeout_at(until, core.desk.answers.recv()).await;
            let recorded = answer.ok().flatten();
            let has_answered = recorded.is_some();
            recorded.into_iter().for_each(|recorded| core.take_over(recorded, latencies));
            snapshots.push(CoreSnapshot { counters: core.desk.board.read(), has_answered });
        }
        let of_now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let n_turned_away = self.shared.n_turned_away.each_ref().map(of_now);
        let n_delayed = of_now(&self.shared.n_delayed);
        Snapshot { cores: snapshots, latencies: latencies.clone(), n_turned_away, n_delayed }
    }
}

impl Core {
    fn take_over(&mut self, mut recorded: Box<Latencies>, all: &mut Latencies) {
        all.add(&recorded);
        recorded.clear();
        self.spare = Some(recorded);
    }
}

#[cfg(test)]
mod tests {
    use super::super::about::About;
    use super::super::desk::{CoreDesk, desks};
    use super::*;
    use crate::shard::latency::Direction;
    use crate::time::Span;

    /// Answers as a core does, each time with one more delivery.
    fn answer(core: &mut CoreDesk, n_published: u64) {
        let Some(Ask::Latencies(mut empty)) = core.asked() else { panic!("the core was not asked") };
        assert!(empty.of(Direction::NatsToNats).histogram().is_empty());
        empty.record(Direction::NatsToNats, Span::from_millis(1), 1);
        core.publish(&Counters { published: [0, n_published], ..Counters::default() }, Time::START);
        core.answer(empty);
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn what_cores_hand_over_is_summed_and_nothing_is_lost_by_a_late_one() {
        let (desks, mut cores) = desks(About::of_cores(2));
        let collection = Collection::new(desks, Box::new(|_| {}), Box::new(|| Time::START));
        let len = |snapshot: &Snapshot| snapshot.latencies.of(Direction::NatsToNats).histogram().len();
        run(async {
            let (snapshot, ()) = tokio::join!(collection.snapshot(), async { answer(&mut cores[0], 1) });
            assert_eq!(
                snapshot.cores.iter().map(|core| core.has_answered).collect::<Vec<_>>(),
                [true, false]
            );
            assert_eq!((len(&snapshot), snapshot.total().published), (1, [0, 1]));
            // The late answer counts, and then the core is asked again.
            answer(&mut cores[1], 5);
            let (snapshot, ()) = tokio::join!(collection.snapshot(), async {
                answer(&mut cores[0], 2);
                answer(&mut cores[1], 6);
            });
            assert!(snapshot.cores.iter().all(|core| core.has_answered));
            assert_eq!((len(&snapshot), snapshot.total().published), (4, [0, 8]));
        });
    }

    #[test]
    fn a_look_goes_on_until_a_core_has_no_more_and_a_silent_one_does_not_stop_it() {
        let (desks, cores) = desks(About::of_cores(2));
        let collection = Collection::new(desks, Box::new(|_| {}), Box::new(|| Time::START));
        run(async {
            let (found, asked) = tokio::join!(collection.ended(|_| true), async {
                let mut asked = Vec::new();
                for next in [Some(256), None] {
                    let ask = loop {
                        match cores[0].asked() {
                            Some(ask) => break ask,
                            None => tokio::task::yield_now().await,
                        }
                    };
                    let Ask::Look(Question::Ended { from }, answer) = ask else { panic!("{ask:?}") };
                    asked.push(from);
                    answer.send(Answer::Ended { found: Vec::new(), next }).unwrap();
                }
                asked
            });
            assert!(found.is_empty());
            assert_eq!(asked, [0, 256]);
        });
    }
}
