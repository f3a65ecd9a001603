//! Nothing in the log is ever changed or removed.

use sqlx::{Connection, Executor, PgConnection};

use crate::harness::{Harness, Verdict};
use crate::support::*;

hold_on_a_sound_log!(
    change_and_removal_are_refused_even_to_the_owner,
    a_service_may_execute_the_append_and_change_nothing_else,
);

pub async fn change_and_removal_are_refused_even_to_the_owner(harness: &Harness) -> Verdict {
    let processor = harness.processor().await;
    processor.execute(deposit(&account("kept"), 1), context()).await?;
    let mut owner = harness.owner().await;
    for sql in [
        "UPDATE eventlog.events SET data = '{}'",
        "DELETE FROM eventlog.events",
        "TRUNCATE eventlog.events",
        "UPDATE eventlog.command_results SET position = 0",
        "TRUNCATE eventlog.command_results",
    ] {
        let refused = owner.execute(sql).await.err().map(|error| error.to_string()).unwrap_or_default();
        hold!(refused.contains("append-only"), "{sql}: {refused}");
    }
    hold!(processor.log().read_after(0, 10).await?.len() == 1, "the event is gone");
    Ok(())
}

pub async fn a_service_may_execute_the_append_and_change_nothing_else(harness: &Harness) -> Verdict {
    harness.processor().await.execute(deposit(&account("kept"), 1), context()).await?;
    let mut service = PgConnection::connect(harness.database.url()).await?;
    for sql in [
        "UPDATE eventlog.events SET data = '{}'",
        "DELETE FROM eventlog.events",
        "DELETE FROM eventlog.command_results",
        "INSERT INTO eventlog.events (stream_id, version, event_id, command_id, type, schema_version, data, metadata) \
         VALUES ('account-x', 1, gen_random_uuid(), gen_random_uuid(), 'Deposited', 1, '{}', '{}')",
        "ALTER TABLE eventlog.events DISABLE TRIGGER append_only",
        "UPDATE eventlog.identity SET incarnation = 9",
    ] {
        hold!(service.execute(sql).await.is_err(), "the service may: {sql}");
    }
    Ok(())
}
