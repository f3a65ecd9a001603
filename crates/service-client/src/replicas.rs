//! The replicas of one service: those that its names stand for at the moment, the connections to them that are ready,
//! and the choice of one for a call. A replica that fails again and again is left alone for a while, but never the
//! last that is ready.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::body::Outgoing;
use crate::circuit::Circuit;
use crate::meters::BackendMeters;
use crate::options::ClientOptions;
use crate::{Names, lane};

/// Tries to find two connections that may be chosen before all are looked at.
const DRAWS: usize = 4;

/// All replicas of a service.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub backend: Arc<str>,
    pub options: ClientOptions,
    pub circuit: Circuit,
    pub meters: BackendMeters,
    /// Rung when a replica cannot be reached: its name may stand for others by now.
    pub look_up: Notify,
    known: Mutex<HashMap<SocketAddr, (Arc<Replica>, CancellationToken)>>,
    ready: watch::Sender<Arc<[Arc<Lane>]>>,
    stop: CancellationToken,
}

/// One process behind an address.
#[derive(Debug)]
pub(crate) struct Replica {
    pub address: SocketAddr,
    /// In a row.
    failures: AtomicU32,
    ejected: AtomicBool,
    ejection: Mutex<Ejection>,
}

#[derive(Debug)]
struct Ejection {
    /// When a call may try it.
    until: Instant,
    times: u32,
}

/// A connection that takes calls.
#[derive(Debug)]
pub(crate) struct Lane {
    pub replica: Arc<Replica>,
    pub authority: Authority,
    pub sender: SendRequest<Outgoing>,
    in_flight: AtomicUsize,
}

impl Lane {
    pub fn new(replica: Arc<Replica>, authority: Authority, sender: SendRequest<Outgoing>) -> Self {
        Self { replica, authority, sender, in_flight: AtomicUsize::new(0) }
    }
}

/// A connection that was chosen for a call, which counts as under way until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Lane>);

impl InFlight {
    fn begin(lane: &Arc<Lane>) -> Self {
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(lane))
    }
}

impl std::ops::Deref for InFlight {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Replicas {
    pub fn new(backend: &str, options: ClientOptions, stop: CancellationToken) -> Self {
        Self {
            backend: backend.into(),
            circuit: Circuit::new(backend, options.circuit_failures, options.circuit_open),
            meters: BackendMeters::new(backend),
            options,
            look_up: Notify::new(),
            known: Mutex::default(),
            ready: watch::Sender::new(Arc::from([])),
            stop,
        }
    }

    /// Follows the addresses until it is stopped.
    pub fn follow(self: &Arc<Self>, addresses: Vec<Address>, names: &Names) {
        let literal: Vec<_> =
            addresses.iter().map(|address| address.literal().into_iter().collect()).collect();
        let found: Arc<Mutex<Vec<Vec<SocketAddr>>>> = Arc::new(Mutex::new(literal));
        self.set(&found);
        for (index, address) in addresses.into_iter().enumerate() {
            if address.literal().is_none() {
                let (pool, found) = (Arc::clone(self), Arc::clone(&found));
                tokio::spawn(follow_name(pool, address, index, names.clone(), found));
            }
        }
    }

    fn set(self: &Arc<Self>, found: &Mutex<Vec<Vec<SocketAddr>>>) {
        let wanted: BTreeSet<SocketAddr> = lock(found).iter().flatten().copied().collect();
        let mut known = lock(&self.known);
        known.retain(|address, (_, stop)| {
            let stays = wanted.contains(address);
            if !stays {
                tracing::info!(backend = &*self.backend, { service_runtime::fields::ADDRESS } = %address, "a replica has gone");
                stop.cancel();
            }
            stays
        });
        for address in wanted {
            known.entry(address).or_insert_with(|| {
                tracing::info!(backend = &*self.backend, { service_runtime::fields::ADDRESS } = %address, "a replica has come");
                let (replica, stop) = (Arc::new(Replica::new(address)), self.stop.child_token());
                for _ in 0..self.options.connections_per_replica {
                    tokio::spawn(lane::keep(Arc::clone(self), Arc::clone(&replica), stop.clone()));
                }
                (replica, stop)
            });
        }
        drop(known);
        self.measure();
    }

    /// Calls may go over this connection from now on.
    pub fn list(&self, lane: &Arc<Lane>) {
        self.ready.send_modify(|ready| {
            if !ready.iter().any(|other| Arc::ptr_eq(other, lane)) {
                *ready = ready.iter().chain([lane]).cloned().collect();
            }
        });
        self.circuit.look_again();
        self.measure();
    }

    /// No more calls go over this connection.
    pub fn unlist(&self, lane: &Arc<Lane>) {
        self.ready.send_if_modified(|ready| {
            let left: Arc<[_]> = ready.iter().filter(|other| !Arc::ptr_eq(other, lane)).cloned().collect();
            let gone = left.len() != ready.len();
            *ready = left;
            gone
        });
        self.measure();
    }

    /// Follows whether any replica is ready.
    pub fn watch(&self) -> watch::Receiver<Arc<[Arc<Lane>]>> {
        self.ready.subscribe()
    }

    /// A connection for a call, if possible not to the replica `avoid`: the less busy of two that are drawn.
    pub fn choose(&self, avoid: Option<SocketAddr>) -> Option<InFlight> {
        let ready = Arc::clone(&self.ready.borrow());
        let now = Instant::now();
        let open = |lane: &Lane| !lane.sender.is_closed();
        let good =
            |lane: &Lane| open(lane) && lane.replica.may_be_tried(now) && Some(lane.replica.address) != avoid;
        let chosen = draw(&ready, good)
            .or_else(|| least_busy(&ready, |lane| open(lane) && lane.replica.may_be_tried(now)))
            .or_else(|| least_busy(&ready, open))?;
        chosen.replica.tried(now, self.options.ejection);
        Some(InFlight::begin(chosen))
    }

    /// Like [`choose`](Self::choose); if no replica is ready it waits for one.
    pub async fn wait_for_one(&self, avoid: Option<SocketAddr>, until: Instant) -> Option<InFlight> {
        if let Some(chosen) = self.choose(avoid) {
            return Some(chosen);
        }
        let mut ready = self.watch();
        loop {
            // Marked as seen before the choice, so that whatever comes after it is noticed.
            ready.borrow_and_update();
            if let Some(chosen) = self.choose(avoid) {
                return Some(chosen);
            }
            tokio::time::timeout_at(until, ready.changed()).await.ok()?.ok()?;
        }
    }

    /// Whether a replica other than this one is ready.
    pub fn has_other_than(&self, address: SocketAddr) -> bool {
        self.ready.borrow().iter().any(|lane| lane.replica.address != address)
    }

    /// Remembers how a call of this replica ended.
    pub fn judge(&self, replica: &Replica, failed: bool) {
        if replica.judge(failed, self.options.eject_after, self.options.ejection) {
            let verdict = if failed { "fails again and again: it is left alone" } else { "answers again" };
            tracing::warn!(backend = &*self.backend, { service_runtime::fields::ADDRESS } = %replica.address, "a replica {verdict}");
            self.measure();
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not as many replicas")]
    fn measure(&self) {
        let known = lock(&self.known);
        let ready: HashSet<_> = self.ready.borrow().iter().map(|lane| lane.replica.address).collect();
        let ejected = known.values().filter(|(replica, _)| replica.ejected.load(Ordering::Relaxed)).count();
        self.meters.known.set(known.len() as f64);
        self.meters.ready.set(ready.len() as f64);
        self.meters.ejected.set(ejected as f64);
    }
}

/// Two draws, and of these the less busy.
fn draw(ready: &[Arc<Lane>], good: impl Fn(&Lane) -> bool) -> Option<&Arc<Lane>> {
    let random = || ready.get(rand::random_range(0..ready.len().max(1)));
    let one = || (0..DRAWS).find_map(|_| random().filter(|lane| good(lane)));
    match (one(), one()) {
        (Some(one), Some(other)) => Some(less_busy(one, other)),
        (one, other) => one.or(other).or_else(|| least_busy(ready, good)),
    }
}

fn less_busy<'a>(one: &'a Arc<Lane>, other: &'a Arc<Lane>) -> &'a Arc<Lane> {
    let busy = |lane: &Lane| lane.in_flight.load(Ordering::Relaxed);
    if busy(other) < busy(one) { other } else { one }
}

fn least_busy(ready: &[Arc<Lane>], good: impl Fn(&Lane) -> bool) -> Option<&Arc<Lane>> {
    ready.iter().filter(|lane| good(lane)).reduce(less_busy)
}

impl Replica {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            failures: AtomicU32::new(0),
            ejected: AtomicBool::new(false),
            ejection: Mutex::new(Ejection { until: Instant::now(), times: 0 }),
        }
    }

    fn may_be_tried(&self, now: Instant) -> bool {
        !self.ejected.load(Ordering::Relaxed) || lock(&self.ejection).until <= now
    }

    /// One call tries a replica that is left alone; the next may do so after as long again.
    fn tried(&self, now: Instant, pauses: (Duration, Duration)) {
        if self.ejected.load(Ordering::Relaxed) {
            lock(&self.ejection).until = now + pauses.0;
        }
    }

    /// Whether this changed something about its being left alone.
    fn judge(&self, failed: bool, eject_after: u32, pauses: (Duration, Duration)) -> bool {
        if !failed {
            if self.failures.load(Ordering::Relaxed) > 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
            if !self.ejected.load(Ordering::Relaxed) {
                return false;
            }
            lock(&self.ejection).times = 0;
            return self.ejected.swap(false, Ordering::Relaxed);
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < eject_after {
            return false;
        }
        let mut ejection = lock(&self.ejection);
        let first = !self.ejected.swap(true, Ordering::Relaxed);
        if first || ejection.until <= Instant::now() + pauses.0 {
            let pause = pauses.0.saturating_mul(1 << ejection.times.min(16)).min(pauses.1);
            ejection.until = Instant::now() + pause;
            ejection.times = ejection.times.saturating_add(1);
        }
        first
    }
}

/// Looks one name up again and again. An answer that does not come, or is empty, changes nothing: what was there
/// before may well be there still, and its connections know better.
async fn follow_name(
    pool: Arc<Replicas>,
    address: Address,
    index: usize,
    names: Names,
    found: Arc<Mutex<Vec<Vec<SocketAddr>>>>,
) {
    let (least, most) = pool.options.dns_refresh;
    let mut failed_before = false;
    let follow = async {
        loop {
            let pause = match names.look_up(address.host()).await {
                Ok((ips, good_for)) => {
                    failed_before = false;
                    pool.meters.looked_up.increment(1);
                    let ips = ips.into_iter().map(|ip| SocketAddr::new(ip, address.port()));
                    lock(&found)[index] = ips.collect();
                    pool.set(&found);
                    good_for.clamp(least, most)
                }
                Err(error) => {
                    pool.meters.not_looked_up.increment(1);
                    if !std::mem::replace(&mut failed_before, true) {
                        tracing::warn!(backend = &*pool.backend, { service_runtime::fields::ERROR } = %error, "no look-up");
                    }
                    least
                }
            };
            tokio::time::sleep(least).await;
            let _ = tokio::time::timeout(pause.saturating_sub(least), pool.look_up.notified()).await;
        }
    };
    let stop = pool.stop.clone();
    stop.run_until_cancelled(follow).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PAUSES: (Duration, Duration) = (SECOND, Duration::from_secs(4));

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_fails_again_and_again_is_left_alone_for_longer_and_longer() {
        let replica = Replica::new(([127, 0, 0, 1], 1).into());
        assert!(!replica.judge(true, 2, PAUSES) && replica.may_be_tried(Instant::now()));
        assert!(replica.judge(true, 2, PAUSES));
        for pause in [SECOND, SECOND * 2, SECOND * 4, SECOND * 4] {
            let ejected = Instant::now();
            assert!(!replica.may_be_tried(ejected + pause - SECOND / 2), "{pause:?}");
            tokio::time::advance(pause).await;
            assert!(replica.may_be_tried(Instant::now()));
            replica.tried(Instant::now(), PAUSES);
            assert!(!replica.may_be_tried(Instant::now()), "one call at a time");
            replica.judge(true, 2, PAUSES);
        }
        assert!(replica.judge(false, 2, PAUSES) && replica.may_be_tried(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_count_in_a_row_only() {
        let replica = Replica::new(([127, 0, 0, 1], 1).into());
        for _ in 0..5 {
            assert!(!replica.judge(true, 2, PAUSES));
            assert!(!replica.judge(false, 2, PAUSES));
        }
        assert!(replica.may_be_tried(Instant::now()));
    }
}
