//! Guarantee 1: an append stands only if every stream that its decisions read is as it was read.

use eventsourcing::*;
use sqlx::Row;
use uuid::Uuid;

use crate::harness::{Harness, Verdict, Violation};
use crate::support::*;

hold_on_a_sound_log!(
    of_many_commands_that_expect_the_same_version_one_wins,
    two_processors_on_one_database_never_overdraw_an_account,
    a_refusal_from_memory_is_checked_against_what_another_replica_made_legal,
    an_operation_over_two_streams_happens_to_both_or_to_none,
    a_rejected_operation_leaves_nothing_in_any_of_its_streams,
    a_batch_whose_foundation_is_not_in_the_log_writes_nothing_although_all_versions_fit,
);

pub async fn of_many_commands_that_expect_the_same_version_one_wins(harness: &Harness) -> Verdict {
    let (one, other) = (harness.processor().await, harness.processor().await);
    let stream = account("contested");
    for round in 0..20 {
        let attempts = (0..10).map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = Decide { expected_version: Some(round), ..deposit(&stream, 1) };
            tokio::spawn(async move { processor.execute(operation, context()).await })
        });
        let mut won = 0;
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await? {
                Ok(_) => won += 1,
                Err(ExecuteError::StaleVersion { expected, .. }) => {
                    hold!(expected == round, "expected {round}, and was told {expected}");
                }
                Err(other) => return Err(Violation(format!("neither won nor stale: {other}"))),
            }
        }
        hold!(won == 1, "{won} won in round {round}");
    }
    Ok(())
}

pub async fn two_processors_on_one_database_never_overdraw_an_account(harness: &Harness) -> Verdict {
    let (one, other) = (harness.processor().await, harness.processor().await);
    let stream = account("shared");
    one.execute(deposit(&stream, 100), context()).await?;
    let withdrawals: Vec<_> = (0..300)
        .map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = withdraw(&stream, 1);
            tokio::spawn(async move { processor.execute(operation, context()).await })
        })
        .collect();
    let mut paid = 0;
    for withdrawal in withdrawals {
        match withdrawal.await? {
            Ok(_) => paid += 1,
            Err(ExecuteError::Rejected { rejection: AccountError::Overdrawn { balance }, .. }) => {
                hold!(balance == 0, "refused although there were {balance}");
            }
            Err(other) => return Err(other.into()),
        }
    }
    hold!(paid == 100, "{paid} of 100 were paid");
    let left = balance(one.log(), &stream).await.balance;
    hold!(left == 0, "{left} are left");
    Ok(())
}

pub async fn a_refusal_from_memory_is_checked_against_what_another_replica_made_legal(
    harness: &Harness,
) -> Verdict {
    let (one, other) = (harness.processor().await, harness.processor().await);
    let stream = account("refilled");
    one.execute(deposit(&stream, 1), context()).await?;
    // `one` remembers a balance of 1; `other` raises it.
    other.execute(deposit(&stream, 10), context()).await?;
    let paid = one.execute(withdraw(&stream, 11), context()).await;
    hold!(paid.is_ok(), "the balance is 11, and 11 were refused: {paid:?}");
    Ok(())
}

pub async fn an_operation_over_two_streams_happens_to_both_or_to_none(harness: &Harness) -> Verdict {
    let (one, other) = (harness.processor().await, harness.processor().await);
    let accounts: Vec<_> = (0..5).map(account).collect();
    for stream in &accounts {
        one.execute(deposit(stream, 20), context()).await?;
    }
    let transfers: Vec<_> = (0..400)
        .filter_map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let (from, to) = (accounts[i % 5].clone(), accounts[(i / 5 + i + 1) % 5].clone());
            let transfer = Transfer { amount: i as i64 % 13 + 1, from, to };
            (transfer.from != transfer.to)
                .then(|| tokio::spawn(async move { processor.execute(transfer, context()).await }))
        })
        .collect();
    for transfer in transfers {
        match transfer.await? {
            Ok(_) | Err(ExecuteError::Rejected { .. }) => {}
            Err(other) => return Err(other.into()),
        }
    }
    let mut total = 0;
    for stream in &accounts {
        let balance = balance(one.log(), stream).await.balance;
        hold!(balance >= 0, "{stream} is overdrawn");
        total += balance;
    }
    hold!(total == 100, "money appeared or vanished: {total}");
    Ok(())
}

pub async fn a_rejected_operation_leaves_nothing_in_any_of_its_streams(harness: &Harness) -> Verdict {
    let processor = harness.processor().await;
    let (poor, rich) = (account("poor"), account("rich"));
    let refused =
        processor.execute(Transfer { from: poor.clone(), to: rich.clone(), amount: 1 }, context()).await;
    hold!(matches!(refused, Err(ExecuteError::Rejected { .. })), "{refused:?}");
    // The next command on the same cached stream must not see the refused deposit either.
    let version = processor.execute(deposit(&rich, 5), context()).await?.reply;
    hold!(version == 1, "version {version}");
    let balance = balance(processor.log(), &rich).await.balance;
    hold!(balance == 5, "balance {balance}");
    Ok(())
}

pub async fn a_batch_whose_foundation_is_not_in_the_log_writes_nothing_although_all_versions_fit(
    harness: &Harness,
) -> Verdict {
    let commands = harness.processor().await;
    let stream = account("speculated");
    commands.execute(deposit(&stream, 1), context()).await?;
    let mut owner = harness.owner().await;
    let stored: Uuid = sqlx::query_scalar("SELECT event_id FROM eventlog.events WHERE version = 1")
        .fetch_one(&mut owner)
        .await?;
    for (foundation, fits) in [(Uuid::nil(), false), (stored, true)] {
        let row = sqlx::query(
            "SELECT last_position, unfounded FROM eventlog.append( \
                 '{t}', ARRAY[$1], '{00}', ARRAY['{\"ok\":2}'], '{t}', ARRAY[$2], '{1}', ARRAY[$2], '{2}', ARRAY[$1], \
                 ARRAY[$1], '{Withdrawn}', '{1}', ARRAY['{\"amount\":1}'], \
                 ARRAY['{\"correlation_id\":\"c\",\"actor\":\"t\"}'], $2, 1, $3)",
        )
        .bind(Uuid::now_v7())
        .bind(stream.as_str())
        .bind(foundation)
        .fetch_one(&mut owner)
        .await?;
        let appended = row.get::<Option<i64>, _>(0).is_some();
        hold!(appended == fits, "on {foundation}: appended is {appended} and not {fits}");
        hold!(row.get::<Option<bool>, _>(1) == Some(!fits), "on {foundation}: the answer does not say so");
        let events = balance(&harness.open().await, &stream).await.events;
        hold!(events == if fits { 2 } else { 1 }, "on {foundation}: {events} events");
    }
    Ok(())
}
