//! What every subscription may rely on, whichever feed it reads: the same functions run over a log and over a real Kafka.
//! Beside them, what only a topic can do to its readers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod contract;
mod refills;
mod topics;
mod world;

macro_rules! over_both_feeds {
    ($($rule:ident),* $(,)?) => {
        mod over_a_log {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    crate::contract::$rule(crate::world::World::of_log().await).await;
                }
            )*
        }

        mod over_kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    crate::contract::$rule(crate::world::World::of_kafka().await).await;
                }
            )*
        }
    };
}

over_both_feeds!(
    every_message_is_applied_once_and_each_key_in_order,
    a_subscription_goes_on_where_it_was,
    a_second_replica_that_joins_and_a_first_that_leaves_lose_and_repeat_nothing,
    a_poison_message_parks_its_key_alone_until_it_is_redriven,
    whoever_carries_a_position_reads_what_lies_up_to_it,
    a_read_model_is_made_anew_from_the_beginning,
);
