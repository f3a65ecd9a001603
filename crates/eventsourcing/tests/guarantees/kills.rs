//! A process dies at a named point of its way from the command to the answer. Started again it repeats all commands, and
//! each has happened once and has its first answer.
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use eventsourcing::fault::POINTS;
use testkit::{is_long, say};

use crate::harness::{Harness, Verdict};
use crate::writer::{Plan, Writer};

const COMMANDS: usize = 1_000;
/// At which passings of a point the process dies.
const PASSINGS: &[u32] = &[1, 7];
const PASSINGS_LONG: &[u32] = &[1, 2, 3, 5, 8, 9, 10, 11, 12, 13];
const DEADLINE: Duration = Duration::from_secs(300);
/// How an aborted process ends.
const SIGABRT: i32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_repeated_after_its_process_died_gets_its_first_answer() {
    let points = POINTS.iter().filter(|point| point.starts_with("append.") || point.starts_with("reply."));
    for point in points {
        for passing in if is_long() { PASSINGS_LONG } else { PASSINGS } {
            die_and_repeat(point, &format!("{point}:{passing}")).await.unwrap();
        }
    }
}

async fn die_and_repeat(point: &str, fault: &str) -> Verdict {
    let harness = Harness::new().await;
    let plan = Plan { process: 0, commands: COMMANDS };
    for number in 0..crate::writer::SHARED_ACCOUNTS {
        let seed =
            crate::support::deposit(&crate::writer::shared_account(number), crate::writer::SEED_CAPITAL);
        harness.processor().await.execute(seed, crate::support::context()).await?;
    }
    let mut owner = harness.owner().await;
    let begun: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut owner).await?;
    let mut dying = Writer::start(plan, &harness.database, Some(fault));
    let status = dying.end(DEADLINE).await;
    hold!(
        status.signal() == Some(SIGABRT),
        "{fault} was not reached, it ended with {status}: {}",
        dying.said()
    );
    let before = dying.answers();
    let sessions_are_gone = async {
        // What was sent before the end is still carried out after it.
        let of_the_dead = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                           AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND backend_start > $1)";
        while !sqlx::query_scalar::<_, bool>(of_the_dead).bind(begun).fetch_one(&mut owner).await? {
            tokio::task::yield_now().await;
        }
        Ok::<_, sqlx::Error>(())
    };
    match tokio::time::timeout(DEADLINE, sessions_are_gone).await {
        Ok(gone) => gone?,
        Err(_) => hold!(false, "{fault}: the sessions of the dead process do not end"),
    }
    let decided: i64 =
        sqlx::query_scalar("SELECT count(*) FROM eventlog.command_results").fetch_one(&mut owner).await?;
    // Without those of the seed capital.
    let unanswered = decided as usize - crate::writer::SHARED_ACCOUNTS - before.len();
    if matches!(point, "append.after" | "reply.before") {
        hold!(unanswered > 0, "{fault}: nothing was committed and not answered");
    }

    let mut repeating = Writer::start(plan, &harness.database, None);
    let status = repeating.end(DEADLINE).await;
    hold!(status.success(), "{status}: {}", repeating.said());
    let after = repeating.answers();
    plan.verify(&after, &mut owner).await?;
    for (number, (answer, _)) in &before {
        hold!(after[number] == (*answer, true), "{fault}: {number} was {answer:?}, then {:?}", after[number]);
    }
    let replayed = after.values().filter(|(_, replayed)| *replayed).count();
    hold!(
        replayed == before.len() + unanswered,
        "{fault}: {replayed} were answered with what was decided before"
    );
    say(format!(
        "kill at {fault}: {} answered, {unanswered} committed and not answered; the repeats of all {COMMANDS} got the \
         first answers",
        before.len(),
    ));
    Ok(())
}
