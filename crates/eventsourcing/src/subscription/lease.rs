//! Which replica runs a subscription: whoever holds a session advisory lock in the service's database. This
//! is thrift and not safety. A lock can be lost without its holder knowing, and then two runners run; that
//! is harmless, because checkpoints move by compare-and-set and commands have derived ids. A process that stands still
//! keeps its session open, so the server ends a session that is silent.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How often the session behind the locks is checked.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The server ends a session that is silent for so long, and its locks are free: several heartbeats.
const SILENT_SESSION: (&str, &str) = ("idle_session_timeout", "15s");

/// The leases of one service, all on one connection.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    options: PgConnectOptions,
    session: Mutex<Session>,
    /// Raised when the session is lost, and every lease with it.
    term: AtomicU64,
}

#[derive(Default)]
struct Session {
    connection: Option<PgConnection>,
    held: HashSet<String>,
}

impl Leases {
    /// For the service whose database this reaches; connects when the first lease is asked for. Somebody has to
    /// [`keep`](Self::keep) them.
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options.options([SILENT_SESSION]);
        let inner = Inner { options, session: Mutex::default(), term: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// Tries to become the one that runs `name`. Returns the term for which this holds.
    pub async fn try_acquire(&self, name: &str) -> Result<Option<u64>, sqlx::Error> {
        let mut session = self.inner.session.lock().await;
        let term = self.inner.term.load(Ordering::Acquire);
        if session.held.contains(name) {
            return Ok(Some(term));
        }
        if session.connection.is_none() {
            session.connection = Some(PgConnection::connect_with(&self.inner.options).await?);
        }
        let Some(connection) = session.connection.as_mut() else { return Ok(None) };
        let locked = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(format!("subscription {name}"))
            .fetch_one(connection)
            .await;
        match locked {
            Ok(true) => {
                session.held.insert(name.to_owned());
                Ok(Some(term))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.lose(&mut session);
                Err(error)
            }
        }
    }

    /// Whether the leases acquired in `term` are still held, as far as is known.
    pub fn holds(&self, term: u64) -> bool {
        self.inner.term.load(Ordering::Acquire) == term
    }

    /// Checks the session now and then. At the end gives all leases back, so that another replica need not
    /// wait.
    pub async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            let mut session = self.inner.session.lock().await;
            let Some(connection) = session.connection.as_mut() else { continue };
            let alive = tokio::time::timeout(HEARTBEAT, connection.ping()).await;
            if !matches!(alive, Ok(Ok(()))) {
                tracing::warn!("the session that holds the subscriptions' leases is lost");
                self.lose(&mut session);
            }
        }
        if let Some(connection) = self.inner.session.lock().await.connection.take() {
            // The server frees the locks when the session ends, however it ends.
            let _ = connection.close().await;
        }
    }

    fn lose(&self, session: &mut Session) {
        *session = Session::default();
        self.inner.term.fetch_add(1, Ordering::Release);
    }
}
