//! Every guarantee switched off on purpose, one at a time: the check that watches over it must see that. A mutation
//! changes the throwaway database or a part of the test, and no user can reach it.

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use sqlx::AssertSqlSafe;

use crate::harness::{Check, Harness, Wrong};
use crate::{append_only, concurrency, durability, effects, idempotency, leases, order};

/// Mutations that are tried at the same time.
const AT_ONCE: usize = 4;
/// What is not found out with so many events is not found out.
const EVENTS: usize = 4_000;
/// Until something that never comes counts as missing.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(8);

struct Mutation {
    /// What is switched off.
    name: &'static str,
    harness: fn() -> LocalBoxFuture<'static, Harness>,
    change: Change,
    caught_by: (&'static str, Check),
}

enum Change {
    /// Replaces a text in the log's functions, which must be there.
    Function { text: &'static str, by: &'static str },
    /// Runs statements as the owner of the database.
    Database(&'static str),
    /// Has a part of the test do it wrong.
    Test(Wrong),
}

macro_rules! check {
    ($module:ident :: $check:ident) => {
        (concat!(stringify!($module), "::", stringify!($check)), |harness| Box::pin($module::$check(harness)))
    };
}

fn shared() -> LocalBoxFuture<'static, Harness> {
    Box::pin(Harness::new())
}

fn own() -> LocalBoxFuture<'static, Harness> {
    Box::pin(Harness::with_cluster(durability::LAZY))
}

/// The `=` of two numbers as wide as positions is always true, in whatever is not in the log's own functions.
const EVERY_POSITION_IS_EQUAL: &str = "
    CREATE SCHEMA mutant;
    GRANT USAGE ON SCHEMA mutant TO PUBLIC;
    CREATE FUNCTION mutant.always(bigint, bigint) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
    CREATE OPERATOR mutant.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = mutant.always);
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = mutant, pg_catalog, public', current_database());
    END $$;";

/// Rows change as this says before they are written.
macro_rules! before {
    ($event:literal, $table:literal, $change:literal) => {
        Change::Database(concat!(
            "CREATE FUNCTION public.mutate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ",
            $change,
            "; RETURN NEW; END $$; CREATE TRIGGER mutate BEFORE ",
            $event,
            " ON ",
            $table,
            " FOR EACH ROW EXECUTE FUNCTION public.mutate();"
        ))
    };
}

fn mutations() -> Vec<Mutation> {
    use Change::{Database, Function, Test};
    let on = |harness, name, change, caught_by| Mutation { name, harness, change, caught_by };
    let plain = |name, change, caught_by| on(shared, name, change, caught_by);
    vec![
        // Guarantee 1.
        plain(
            "the versions of streams are not checked",
            Function { text: "stale_streams IS NOT NULL", by: "false" },
            check!(concurrency::a_refusal_from_memory_is_checked_against_what_another_replica_made_legal),
        ),
        plain(
            "only the versions of streams that are written to are checked",
            Function {
                text: "WHERE r.version IS DISTINCT FROM",
                by: "WHERE r.stream = ANY (e_stream) AND r.version IS DISTINCT FROM",
            },
            check!(concurrency::a_refusal_from_memory_is_checked_against_what_another_replica_made_legal),
        ),
        plain(
            "a batch need not stand on what it was decided on",
            Function { text: "IF unfounded THEN", by: "IF false THEN" },
            check!(concurrency::a_batch_whose_foundation_is_not_in_the_log_writes_nothing_although_all_versions_fit),
        ),
        // Guarantee 2.
        plain(
            "appends do not take the lock",
            Function { text: "PERFORM pg_advisory_xact_lock(", by: "PERFORM (" },
            check!(order::what_commits_first_has_the_lower_position_also_when_a_transaction_is_held_open),
        ),
        plain(
            "positions are drawn in advance, before the lock is held",
            Database("ALTER SEQUENCE eventlog.events_position_seq CACHE 1000"),
            check!(order::what_commits_first_has_the_lower_position_also_when_a_transaction_is_held_open),
        ),
        // Guarantee 3.
        plain(
            "command ids are not looked up",
            Function { text: "known_id IS NOT NULL", by: "false" },
            check!(
                idempotency::the_same_command_a_hundred_times_at_once_happens_once_and_all_get_the_same_answer
            ),
        ),
        plain(
            "answers are not kept",
            Database(
                "CREATE RULE forget AS ON INSERT TO eventlog.command_results DO INSTEAD NOTHING",
            ),
            check!(
                idempotency::a_repeated_command_gets_its_first_answer_from_a_new_process_too_also_when_that_was_a_refusal
            ),
        ),
        plain(
            "answers to derived commands are forgotten too",
            Function { text: "expires AND ", by: "" },
            check!(idempotency::answers_to_clients_are_forgotten_after_their_time_and_derived_ones_never),
        ),
        // Guarantee 4.
        plain(
            "an append without durability is not refused",
            Function { text: "current_setting('synchronous_commit') = 'off'", by: "false" },
            check!(durability::an_append_that_would_not_be_durable_is_refused),
        ),
        on(
            own,
            "appends are acknowledged before they are on disk",
            Function {
                text: "current_setting('synchronous_commit') = 'off'",
                by: "set_config('synchronous_commit', 'off', true) IS NULL",
            },
            check!(durability::what_was_acknowledged_is_there_after_a_crash_of_postgresql),
        ),
        // Append-only.
        plain(
            "change is not refused",
            Database("DROP TRIGGER append_only ON eventlog.events"),
            check!(append_only::change_and_removal_are_refused_even_to_the_owner),
        ),
        plain(
            "a service has all rights on the log",
            Database("GRANT ALL ON eventlog.events TO PUBLIC"),
            check!(append_only::a_service_may_execute_the_append_and_change_nothing_else),
        ),
        // What follows the log.
        plain(
            "a checkpoint is set without being compared",
            Database(EVERY_POSITION_IS_EQUAL),
            check!(effects::a_runner_that_lost_its_lease_without_knowing_has_no_effect),
        ),
        plain(
            "a projection writes beside its transaction",
            Test(Wrong::EffectOutsideOfTransaction),
            check!(effects::what_a_page_did_before_it_failed_is_taken_back_with_it),
        ),
        plain(
            "a reactor's command ids are random",
            Test(Wrong::RandomCommandIds),
            check!(effects::a_reactor_that_gets_everything_again_has_no_second_effect),
        ),
        plain(
            "a parked message does not hold back the later ones of its key",
            Test(Wrong::KeyPerMessage),
            check!(effects::what_waits_behind_a_parked_message_is_handled_after_it_and_in_order),
        ),
        plain(
            "parked messages are handled again from the last to the first",
            before!("INSERT", "eventsourcing.parked_messages", "NEW.position := -NEW.position"),
            check!(effects::what_waits_behind_a_parked_message_is_handled_after_it_and_in_order),
        ),
        // Tasks.
        plain(
            "a lease keeps nobody out",
            before!("UPDATE", "eventsourcing.tasks", "NEW.leased_until := NULL"),
            check!(leases::a_task_is_run_by_one_worker_at_a_time_while_it_is_leased),
        ),
        plain(
            "a lease never ends",
            before!("UPDATE", "eventsourcing.tasks", "NEW.leased_until := 'infinity'"),
            check!(leases::a_task_whose_worker_died_is_run_by_another_when_its_lease_ends),
        ),
    ]
}

impl Mutation {
    /// Returns what the check said, and an error when it saw nothing.
    async fn try_out(self) -> Result<String, String> {
        let mut harness = (self.harness)().await;
        (harness.events, harness.patience) = (EVENTS, PATIENCE);
        match self.change {
            Change::Function { text, by } => replace_in_functions(&harness, text, by).await,
            Change::Database(statements) => harness.tamper(statements).await,
            Change::Test(wrong) => harness.wrong = wrong,
        }
        let (name, check) = self.caught_by;
        match check(&harness).await {
            Err(violation) => Ok(format!("{} -> caught by {name}: {}", self.name, violation.0)),
            Ok(()) => Err(format!("{} -> NOT caught by {name}", self.name)),
        }
    }
}

/// Makes every function of the log anew that contains the text.
async fn replace_in_functions(harness: &Harness, text: &str, by: &str) {
    let mut owner = harness.owner().await;
    let functions: Vec<String> = sqlx::query_scalar(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p \
          WHERE p.pronamespace = 'eventlog'::regnamespace AND strpos(p.prosrc, $1) > 0",
    )
    .bind(text)
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(
        !functions.is_empty(),
        "no function of the log has the text {text:?}: this mutation changes nothing"
    );
    for function in functions {
        let mutant = function.replace(text, by);
        sqlx::raw_sql(AssertSqlSafe(mutant)).execute(&mut owner).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guarantee_that_is_switched_off_is_missed_by_its_own_check() {
    // Each on a thread of its own: one that starts a server meanwhile must not keep the others from theirs.
    let try_out = |mutation: Mutation| {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || runtime.block_on(mutation.try_out()))
    };
    let outcomes: Vec<_> = futures::stream::iter(mutations())
        .map(try_out)
        .buffered(AT_ONCE)
        .map(|outcome| outcome.expect("a mutation that panics fails the test"))
        .collect()
        .await;
    for outcome in &outcomes {
        testkit::say(match outcome {
            Ok(line) | Err(line) => format!("mutation: {line}"),
        });
    }
    let survivors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(survivors.is_empty(), "{survivors:#?}");
}
