//! Carries rebuilds out, one after another, in the one replica that holds the lease. It knows when a step is due; what
//! the steps do is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fill::Filled;
use super::steps::Rebuild;
use super::{Inner, RebuildError};

/// Pause between two looks at what is due: another replica may have been asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the switch asks for its locks before it is noted that somebody keeps it out. Then it is filled further, and
/// asks again.
const SWITCH_ATTEMPTS: u32 = 20;
/// Pause between two of them, in which readers get their turn.
const SWITCH_PAUSE: Duration = Duration::from_millis(100);
/// PostgreSQL's code for a lock that was not had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Looks what is due, and does it, until `stop`.
pub(super) async fn drive(inner: Arc<Inner>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for rebuild in &inner.rebuilds {
            if let Err(error) = attend(&inner, rebuild, &stop).await {
                tracing::warn!(model = rebuild.name(), %error, "a rebuild does not go on");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = inner.wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn attend(inner: &Inner, rebuild: &Rebuild, stop: &CancellationToken) -> Result<(), RebuildError> {
    let Some(due) = rebuild.due().await? else { return Ok(()) };
    let leases = inner.subscriptions.leases();
    let Some(term) = leases.try_acquire(&format!("rebuild {}", rebuild.name())).await? else { return Ok(()) };
    if due.drop_former {
        rebuild.drop_former().await?;
    }
    if !due.fill {
        return Ok(());
    }
    let ended = carry_out(rebuild, stop, || !stop.is_cancelled() && leases.holds(term)).await;
    match ended {
        // It was abandoned.
        Err(RebuildError::NotBegun(_)) | Ok(()) => Ok(()),
        Err(error) => {
            rebuild.note(Some(&error.to_string()), !error.is_transient()).await?;
            Err(error)
        }
    }
}

async fn carry_out(
    rebuild: &Rebuild,
    stop: &CancellationToken,
    go_on: impl Fn() -> bool,
) -> Result<(), RebuildError> {
    rebuild.resume().await?;
    loop {
        if rebuild.fill(&go_on).await? == Filled::Stopped {
            return Ok(());
        }
        if switch(rebuild, stop).await? {
            tracing::info!(model = rebuild.name(), "a read model was switched to another version");
            return Ok(());
        }
    }
}

/// Switches as soon as nobody keeps it out. Returns false when more must be filled before.
async fn switch(rebuild: &Rebuild, stop: &CancellationToken) -> Result<bool, RebuildError> {
    for _ in 0..SWITCH_ATTEMPTS {
        match rebuild.switch().await {
            Err(RebuildError::Database(sqlx::Error::Database(error)))
                if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
            {
                tokio::select! {
                    () = stop.cancelled() => return Ok(false),
                    () = tokio::time::sleep(SWITCH_PAUSE) => {}
                }
            }
            ended => return ended,
        }
    }
    Err(RebuildError::KeptOut)
}
