//! Guarantee 3: a command happens once, and whoever repeats it gets the first answer.

use std::time::{Duration, Instant};

use eventsourcing::*;
use sqlx::Executor;
use uuid::Uuid;

use crate::harness::{CUT_OFF, Harness, Verdict, Violation};
use crate::support::*;

hold_on_a_sound_log!(
    the_same_command_a_hundred_times_at_once_happens_once_and_all_get_the_same_answer,
    a_repeated_command_gets_its_first_answer_from_a_new_process_too_also_when_that_was_a_refusal,
    a_used_command_id_with_another_request_is_an_error,
    a_used_command_id_in_another_scope_is_another_command,
    an_outdated_expectation_is_not_stored_but_a_success_before_it_is_replayed,
    answers_to_clients_are_forgotten_after_their_time_and_derived_ones_never,
    commands_survive_the_loss_of_the_connection_in_the_middle_and_happen_once,
);

pub async fn the_same_command_a_hundred_times_at_once_happens_once_and_all_get_the_same_answer(
    harness: &Harness,
) -> Verdict {
    let (one, other) = (harness.processor().await, harness.processor().await);
    let (stream, id) = (account("clicked"), Uuid::now_v7());
    let clicks: Vec<_> = (0..100)
        .map(|i| {
            let processor = if i % 2 == 0 { one.clone() } else { other.clone() };
            let operation = deposit(&stream, 5);
            tokio::spawn(async move { processor.execute(operation, context_of(id)).await })
        })
        .collect();
    let mut first = 0;
    for click in clicks {
        let answer = click.await??;
        hold!(answer.reply == 1, "another answer: {}", answer.reply);
        first += usize::from(!answer.replayed);
    }
    hold!(first == 1, "{first} were the first");
    let balance = balance(one.log(), &stream).await.balance;
    hold!(balance == 5, "balance {balance}");
    Ok(())
}

pub async fn a_repeated_command_gets_its_first_answer_from_a_new_process_too_also_when_that_was_a_refusal(
    harness: &Harness,
) -> Verdict {
    let (stream, id) = (account("poor"), Uuid::now_v7());
    let first = harness.processor().await.execute(withdraw(&stream, 5), context_of(id)).await;
    hold!(matches!(first, Err(ExecuteError::Rejected { replayed: false, .. })), "{first:?}");

    let restarted = harness.processor().await;
    restarted.execute(deposit(&stream, 100), context()).await?;
    let repeated = restarted.execute(withdraw(&stream, 5), context_of(id)).await;
    let Err(ExecuteError::Rejected { rejection, replayed, .. }) = repeated else {
        return Err(Violation(format!("the refusal was not repeated: {repeated:?}")));
    };
    hold!(replayed, "decided again");
    hold!(rejection == AccountError::Overdrawn { balance: 0 }, "the answer of now: {rejection:?}");
    Ok(())
}

pub async fn a_used_command_id_with_another_request_is_an_error(harness: &Harness) -> Verdict {
    let processor = harness.processor().await;
    let (stream, id) = (account("a"), Uuid::now_v7());
    processor.execute(deposit(&stream, 5), context_of(id)).await?;
    let other_request = CommandContext { request_hash: [8; 32], ..context_of(id) };
    let refused = processor.execute(deposit(&stream, 6), other_request).await;
    hold!(matches!(refused, Err(ExecuteError::RequestIdReused)), "{refused:?}");
    let balance = balance(processor.log(), &stream).await.balance;
    hold!(balance == 5, "balance {balance}");
    Ok(())
}

pub async fn a_used_command_id_in_another_scope_is_another_command(harness: &Harness) -> Verdict {
    let processor = harness.processor().await;
    let (stream, id) = (account("a"), Uuid::now_v7());
    processor.execute(deposit(&stream, 5), context_of(id)).await?;
    let other_scope = CommandContext { scope: "somebody else".into(), ..context_of(id) };
    let answer = processor.execute(deposit(&stream, 5), other_scope).await?;
    hold!(!answer.replayed, "somebody else's answer was replayed");
    let balance = balance(processor.log(), &stream).await.balance;
    hold!(balance == 10, "balance {balance}");
    Ok(())
}

pub async fn an_outdated_expectation_is_not_stored_but_a_success_before_it_is_replayed(
    harness: &Harness,
) -> Verdict {
    let processor = harness.processor().await;
    let (stream, id) = (account("a"), Uuid::now_v7());
    let expecting = |version| Decide { expected_version: Some(version), ..deposit(&stream, 1) };

    let stale = processor.execute(expecting(3), context_of(id)).await;
    hold!(matches!(stale, Err(ExecuteError::StaleVersion { expected: 3, actual: 0 })), "{stale:?}");
    // The refusal before was not stored.
    processor.execute(expecting(0), context_of(id)).await?;
    let repeated = processor.execute(expecting(0), context_of(id)).await?;
    hold!(repeated.replayed, "the version has moved on, but this command was carried out");
    Ok(())
}

pub async fn answers_to_clients_are_forgotten_after_their_time_and_derived_ones_never(
    harness: &Harness,
) -> Verdict {
    let processor = harness.processor().await;
    let stream = account("a");
    processor.execute(deposit(&stream, 1), context()).await?;
    let derived = CommandContext::derived("tests", Uuid::now_v7(), 0, Metadata::default());
    processor.execute(deposit(&stream, 1), derived.clone()).await?;

    let log = processor.log();
    let too_soon = log.forget_command_results(Duration::from_secs(6 * 86_400)).await;
    hold!(too_soon.is_err(), "forgotten too soon");
    // The clock is the database's; the rows are made old behind the log's back.
    let age = "ALTER TABLE eventlog.command_results DISABLE TRIGGER append_only; \
               UPDATE eventlog.command_results SET recorded_at = now() - interval '8 days'; \
               ALTER TABLE eventlog.command_results ENABLE TRIGGER append_only";
    harness.tamper(age).await;
    let forgotten = log.forget_command_results(Duration::from_secs(7 * 86_400)).await?;
    hold!(forgotten == 1, "{forgotten} were forgotten");
    let repeated = processor.execute(deposit(&stream, 1), derived).await?;
    hold!(repeated.replayed, "a derived command happened again");
    Ok(())
}

pub async fn commands_survive_the_loss_of_the_connection_in_the_middle_and_happen_once(
    harness: &Harness,
) -> Verdict {
    let processor = harness.processor().await;
    let stream = account("shaken");
    let mut executioner = harness.owner().await;
    let ids: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    let commands: Vec<_> = ids
        .iter()
        .map(|id| {
            let (processor, operation, context) = (processor.clone(), deposit(&stream, 1), context_of(*id));
            tokio::spawn(async move { processor.execute(operation, context).await })
        })
        .collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(300) {
        executioner.execute(CUT_OFF).await?;
    }
    for command in commands {
        // It is submitted again until it is answered.
        command.await??;
    }
    let balance = balance(&harness.open().await, &stream).await.balance;
    hold!(balance == 200, "balance {balance}");
    Ok(())
}
