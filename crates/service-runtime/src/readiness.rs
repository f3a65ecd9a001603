//! Which parts of this process are ready to serve. It collects what the parts say about themselves and asks
//! nobody: health checks and `/readyz` read it, and a part that can fail later reports that itself.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Why a part that has said nothing yet is not ready.
const STARTING: &str = "starting";
/// The part that stands for the process itself when it stops.
const PROCESS: &str = "process";

/// The parts that are not ready, by name, with the reason. Empty means ready.
pub type NotReady = BTreeMap<String, String>;

/// The registry. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    not_ready: watch::Sender<NotReady>,
    /// What is worth knowing of parts that are ready all the same.
    degraded: watch::Sender<BTreeMap<String, String>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Without parts it is ready.
    pub fn new() -> Self {
        Self { not_ready: watch::Sender::new(NotReady::new()), degraded: watch::Sender::default() }
    }

    /// Registers a part, which is not ready until it says so.
    pub fn component(&self, name: impl Into<String>) -> Component {
        let component = Component { registry: self.clone(), name: name.into() };
        component.not_ready(STARTING);
        component
    }

    /// From now on the process is not ready, whatever its parts say.
    pub fn draining(&self) {
        self.set(PROCESS, Some("stopping"));
    }

    pub fn is_ready(&self) -> bool {
        self.not_ready.borrow().is_empty()
    }

    /// Follows the parts that are not ready.
    pub fn watch(&self) -> watch::Receiver<NotReady> {
        self.not_ready.subscribe()
    }

    /// Returns once every part is ready.
    pub async fn ready(&self) {
        // The registry holds the sender, so waiting cannot fail.
        let _ = self.watch().wait_for(NotReady::is_empty).await;
    }

    fn set(&self, name: &str, reason: Option<&str>) {
        self.not_ready.send_if_modified(|parts| match reason {
            Some(reason) => parts.insert(name.to_owned(), reason.to_owned()).as_deref() != Some(reason),
            None => parts.remove(name).is_some(),
        });
    }

    /// `GET /healthz` (the process answers) and `GET /readyz` (it can do its work; else 503 and who cannot).
    pub fn routes(&self) -> axum::Router {
        use axum::http::StatusCode;
        use axum::routing::get;
        let readiness = self.clone();
        let ready = move || {
            let waiting = readiness.not_ready.borrow().clone();
            let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let ready = if waiting.is_empty() { "ready\n" } else { "" };
            let degraded = readiness.degraded.borrow();
            let lines = waiting.iter().chain(degraded.iter());
            let lines = lines.map(|(name, reason)| format!("{name}: {reason}\n"));
            std::future::ready((status, std::iter::once(ready.to_owned()).chain(lines).collect::<String>()))
        };
        axum::Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(ready))
    }
}

/// One part's own view of itself.
#[derive(Clone, Debug)]
pub struct Component {
    registry: Readiness,
    name: String,
}

impl Component {
    pub fn ready(&self) {
        self.registry.set(&self.name, None);
        self.note(None);
    }

    /// It is ready, since traffic to another process would fare no better, and yet something is wrong: `/readyz` says
    /// so to whoever looks. `reason` names no secrets.
    pub fn degraded(&self, reason: &str) {
        self.registry.set(&self.name, None);
        self.note(Some(reason));
    }

    fn note(&self, reason: Option<&str>) {
        self.registry.degraded.send_modify(|parts| match reason {
            Some(reason) => drop(parts.insert(self.name.clone(), reason.to_owned())),
            None => drop(parts.remove(&self.name)),
        });
    }

    /// `reason` is shown to whoever asks, so it names no secrets.
    pub fn not_ready(&self, reason: &str) {
        self.note(None);
        self.registry.set(&self.name, Some(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_its_parts_are() {
        let readiness = Readiness::new();
        let (log, feed) = (readiness.component("log"), readiness.component("feed"));
        log.ready();
        assert!(!readiness.is_ready());
        feed.ready();
        assert!(readiness.is_ready());
        log.not_ready("no connection");
        assert_eq!(readiness.watch().borrow()["log"], "no connection");
    }

    #[test]
    fn a_degraded_part_is_ready_and_says_what_is_wrong_until_it_is_well() {
        let readiness = Readiness::new();
        let feed = readiness.component("feed");
        feed.degraded("far behind");
        assert!(readiness.is_ready());
        assert_eq!(readiness.degraded.borrow()["feed"], "far behind");
        feed.ready();
        assert!(readiness.degraded.borrow().is_empty());
    }

    #[test]
    fn a_stopping_process_is_not_ready_whatever_its_parts_say() {
        let readiness = Readiness::new();
        let log = readiness.component("log");
        readiness.draining();
        log.ready();
        assert!(!readiness.is_ready());
    }
}
