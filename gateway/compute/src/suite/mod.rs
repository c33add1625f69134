//! The behaviour that defines the port: every implementation runs these, whether in memory, on a disk or over a network.
//!
//! An implementation brings a [`World`], one cluster that nobody else uses, and expands
//! [`broker_suite!`](crate::broker_suite) in an integration test: each behaviour becomes one test, on a fresh world.
//! Behaviours wait for replies and frames, never for time to pass.

#![expect(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "these are tests that others run")]

use std::any::Any;
use std::sync::Arc;

use causeway_model::{Position, ShardId};
use futures_util::future::BoxFuture;

use crate::port::{Broker, Overview};

mod client;
pub mod fetch;
pub mod interest;
pub mod lookup;
pub mod notify;
pub mod overview;
pub mod propose;
pub mod read;
pub mod session;
mod stopwatch;

pub use client::Client;
pub use stopwatch::{Stalled, Stopwatch};

/// One fresh cluster under test, and the few things that only its owner can do to it.
pub trait World: Send + Sync + 'static {
    /// The port.
    fn broker(&self) -> Arc<dyn Broker>;

    /// The same cluster as people see it.
    fn overview(&self) -> Arc<dyn Overview>;

    /// The largest message body that a publish may carry; the suite goes one byte over it, plus the message's other
    /// fields.
    fn largest_body(&self) -> usize;

    /// Has the shard's leader trim its log below a position, and returns once that is applied.
    fn trim(&self, shard: ShardId, below: Position) -> BoxFuture<'_, ()>;

    /// Stops the shard from answering proposals until the guard is dropped; it goes on taking them within a
    /// budget of less than 20,000 calls, which the suite exhausts.
    fn stall(&self, shard: ShardId) -> Box<dyn Any + Send>;
}

/// Expands to one async test a behaviour. `$fresh` is a path to `async fn() -> impl World`.
#[macro_export]
macro_rules! broker_suite {
    ($fresh:path) => {
        $crate::broker_suite! { @each $fresh;
            propose: replies_come_one_a_command_in_order;
            propose: calls_of_one_caller_take_effect_in_call_order_whatever_becomes_of_their_futures;
            propose: commands_of_one_call_are_contiguous_among_many_callers;
            propose: what_is_acknowledged_is_visible_to_every_later_read;
            propose: no_commands_no_effect;
            propose: a_message_over_the_limit_is_refused_and_nothing_is_done;
            propose: busy_means_that_nothing_was_done;
            propose: each_of_many_callers_keeps_its_order;
            read: a_record_is_in_a_queue_once_however_many_subscribers_overlap;
            read: pages_seek_and_iterate;
            read: bounds_are_exclusive_below_and_inclusive_above;
            read: a_queue_that_nobody_wrote_is_empty_up_to_the_end;
            read: pages_come_in_the_order_of_the_reads;
            read: an_entry_says_what_a_reader_needs_before_fetching;
            read: the_queue_of_all_is_the_namespace_without_system_topics;
            read: the_queue_of_all_is_read_in_pages;
            read: namespaces_share_nothing;
            read: a_server_topic_has_dense_queues_beside_the_light_one;
            interest: a_wildcard_has_what_came_after_its_position;
            interest: adding_twice_changes_nothing;
            interest: a_filter_lives_until_its_last_owner_leaves;
            interest: wildcards_follow_the_specification;
            interest: an_old_epochs_interest_is_fenced;
            fetch: messages_come_back_as_they_were_published_in_the_order_asked;
            fetch: what_was_trimmed_is_none_and_reads_begin_at_the_first_position;
            session: a_new_session_is_not_present_and_a_resumed_one_is;
            session: an_opening_is_abandoned_by_its_name;
            session: clean_start_forgets_what_was_before;
            session: a_takeover_names_the_old_owner_and_fences_it;
            session: a_volatile_session_leaves_nothing_behind;
            session: subscriptions_are_kept_with_where_they_start;
            session: unsubscribing_says_whether_there_was_one;
            session: progress_moves_the_cursor_forward_only;
            session: progress_of_an_old_epoch_is_skipped;
            session: flights_above_the_cursor_survive_and_finished_ones_go;
            session: a_session_that_nobody_opened_has_no_rows;
            notify: frames_are_contiguous_and_name_every_queue;
            notify: frames_name_messages_without_subscribers;
            notify: a_message_to_one_client_is_in_its_queue_only;
            notify: one_call_is_in_one_frame_in_stamp_order;
            notify: a_reader_that_falls_behind_finds_a_gap_and_reads_the_rest;
            notify: a_large_batch_is_collapsed_and_readable;
            notify: a_reader_that_leaves_disturbs_nobody;
            notify: a_reader_of_some_queues_hears_of_them;
            overview: a_client_has_the_session_that_it_opened_last;
            overview: gateways_are_joined_until_they_are_lost;
            overview: a_shard_says_where_it_stands;
        }
    };
    (@each $fresh:path; $($area:ident: $name:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let world = $fresh().await;
            $crate::suite::$area::$name(&world).await;
        }
    )*};
}
