//! Refuses calls at once while a service cannot be reached, so that nobody waits for what will not come, and lets one
//! call at a time find out whether it is back. It judges the service as a whole by how calls ended after all tries; a
//! single bad replica is `replicas`' business.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::Gauge;
use tokio::time::Instant;

use crate::meters;

/// Outcomes are counted over the current and the last of these.
const WINDOW: Duration = Duration::from_secs(5);

/// What the gauge shows.
const CLOSED: f64 = 0.0;
const HALF_OPEN: f64 = 1.0;
const OPEN: f64 = 2.0;

#[derive(Debug)]
pub(crate) struct Circuit {
    failures: u32,
    open: (Duration, Duration),
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Debug)]
enum State {
    Closed {
        begun: Instant,
        current: Counts,
        last: Counts,
    },
    Open {
        until: Instant,
        times: u32,
    },
    /// One call is under way to find out.
    Probing {
        times: u32,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    failed: u32,
    all: u32,
}

/// A call that was let through. Dropped without an outcome, it says nothing about the service.
#[must_use]
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    circuit: &'a Circuit,
    probe: bool,
    told: bool,
}

impl Circuit {
    /// It opens after `failures` within some seconds, for `open.0` at first and `open.1` at most.
    pub fn new(backend: &str, failures: u32, open: (Duration, Duration)) -> Self {
        let gauge = meters::circuit(backend);
        gauge.set(CLOSED);
        Self { failures: failures.max(1), open, state: Mutex::new(closed()), gauge }
    }

    /// Lets a call through, or says how long it is until the next one may try.
    pub fn pass(&self) -> Result<Passage<'_>, Duration> {
        let mut state = self.lock();
        let probe = match &*state {
            State::Closed { .. } => false,
            State::Probing { .. } => return Err(self.open.0),
            State::Open { until, times } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::Probing { times: *times };
                self.gauge.set(HALF_OPEN);
                true
            }
        };
        Ok(Passage { circuit: self, probe, told: false })
    }

    /// The service may be back: the next call finds out.
    pub fn look_again(&self) {
        if let State::Open { until, .. } = &mut *self.lock() {
            *until = Instant::now();
        }
    }

    fn record(&self, failed: bool, probe: bool) {
        let mut state = self.lock();
        if probe {
            let State::Probing { times } = *state else { return };
            if failed {
                return self.open(&mut state, times.saturating_add(1));
            }
            *state = closed();
            self.gauge.set(CLOSED);
            tracing::info!("the circuit is closed again");
            return;
        }
        let State::Closed { begun, current, last } = &mut *state else { return };
        let age = begun.elapsed();
        if age >= WINDOW {
            *last = if age < WINDOW * 2 { *current } else { Counts::default() };
            (*begun, *current) = (Instant::now(), Counts::default());
        }
        current.all = current.all.saturating_add(1);
        current.failed = current.failed.saturating_add(u32::from(failed));
        let (failures, all) = (current.failed + last.failed, current.all + last.all);
        if failed && failures >= self.failures && failures.saturating_mul(2) >= all {
            self.open(&mut state, 0);
        }
    }

    fn open(&self, state: &mut State, times: u32) {
        let pause = self.open.0.saturating_mul(1 << times.min(16)).min(self.open.1);
        *state = State::Open { until: Instant::now() + pause, times };
        self.gauge.set(OPEN);
        tracing::warn!("the circuit is open for {} ms", pause.as_millis());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> State {
    State::Closed { begun: Instant::now(), current: Counts::default(), last: Counts::default() }
}

impl Passage<'_> {
    /// Tells how the call ended.
    pub fn end(mut self, failed: bool) {
        self.told = true;
        self.circuit.record(failed, self.probe);
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // A probe that nobody waited for is taken for a failure: another one has to find out.
        if self.probe && !self.told {
            self.circuit.record(true, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn circuit() -> Circuit {
        Circuit::new("things", 4, (SECOND, SECOND * 4))
    }

    fn end(circuit: &Circuit, failed: bool) {
        circuit.pass().unwrap().end(failed);
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_enough_calls_failed_and_they_are_half_of_all() {
        let circuit = circuit();
        (0..4).for_each(|_| end(&circuit, false));
        (0..3).for_each(|_| end(&circuit, true));
        assert!(circuit.pass().is_ok(), "three of seven");
        end(&circuit, true);
        assert_eq!(circuit.pass().unwrap_err(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_long_ago_is_forgotten() {
        let circuit = circuit();
        (0..3).for_each(|_| end(&circuit, true));
        tokio::time::advance(WINDOW * 2).await;
        (0..3).for_each(|_| end(&circuit, true));
        assert!(circuit.pass().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_finds_out_whether_the_service_is_back_and_each_failure_doubles_the_pause() {
        let circuit = circuit();
        (0..4).for_each(|_| end(&circuit, true));
        for pause in [SECOND, SECOND * 2, SECOND * 4, SECOND * 4] {
            assert_eq!(circuit.pass().unwrap_err(), pause);
            tokio::time::advance(pause).await;
            let probe = circuit.pass().unwrap();
            assert!(circuit.pass().is_err(), "one at a time");
            probe.end(true);
        }
        circuit.look_again();
        end(&circuit, false);
        let (_one, _other) = (circuit.pass().unwrap(), circuit.pass().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_leaves_the_circuit_open() {
        let circuit = circuit();
        (0..4).for_each(|_| end(&circuit, true));
        circuit.look_again();
        drop(circuit.pass().unwrap());
        assert!(circuit.pass().is_err());
    }
}
