//! How tasks end, and how a process does.

use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::double::process;
use crate::process::Process;

async fn failure_of(process: &Process) -> Option<Failure> {
    // Until the task has ended, whatever became of it.
    while process.tasks.count() > 0 {
        tokio::task::yield_now().await;
    }
    process.tasks.failure().borrow().clone()
}

#[tokio::test]
async fn a_client_that_panics_takes_nobody_with_it() {
    let process = process();
    process.tasks.spawn(Kind::Connection, async { panic!("bad packet") });
    assert_eq!(failure_of(&process).await, None);
    assert_eq!(process.metrics.task.panics(Kind::Connection).get(), 1);
    assert_eq!(process.metrics.task.aborted(Kind::Connection).get(), 0);
}

#[tokio::test]
async fn what_the_process_cannot_do_without_stops_it_by_panic_error_or_end() {
    let cause = |process: Process| async move { failure_of(&process).await.unwrap().to_string() };
    let panics = process();
    panics.tasks.spawn(Kind::Dispatch, async { panic!("number {}", 7) });
    assert_eq!(cause(panics).await, "dispatch task panicked: number 7");
    let fails = process();
    fails.tasks.spawn_fallible(Kind::Admin, async { Err("socket gone") });
    assert_eq!(cause(fails).await, "admin task failed: socket gone");
    let ends = process();
    ends.tasks.spawn(Kind::Accept, async {});
    assert_eq!(cause(ends).await, "accept task ended");
}

#[tokio::test]
async fn the_first_failure_is_the_one_that_is_told() {
    let process = process();
    process.tasks.spawn_fallible(Kind::Dispatch, async { Err("first") });
    failure_of(&process).await;
    process.tasks.spawn_fallible(Kind::Dispatch, async { Err("second") });
    assert_eq!(failure_of(&process).await.unwrap().cause, "failed: first");
}

#[tokio::test]
async fn an_end_is_no_failure_once_the_wave_was_asked_to_end() {
    let process = process();
    process.drain.begin();
    process.tasks.spawn(Kind::Accept, async {});
    assert_eq!(failure_of(&process).await, None);
    // The back wave must hold until the clients have gone.
    process.tasks.spawn(Kind::Dispatch, async {});
    assert_eq!(failure_of(&process).await.unwrap().kind, Kind::Dispatch);
}

/// Says so when it is dropped.
struct Bell(Option<oneshot::Sender<()>>);

impl Drop for Bell {
    fn drop(&mut self) {
        let _ = self.0.take().map(|sender| sender.send(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_clients_first_and_drops_whoever_is_left_at_the_deadline() {
    let process = process();
    let (rung, dropped) = oneshot::channel();
    let bell = Bell(Some(rung));
    process.tasks.spawn(Kind::Connection, async move {
        let _bell = bell;
        std::future::pending::<()>().await;
    });
    let drain = process.drain.clone();
    process.tasks.spawn(Kind::Connection, async move { drain.begun().await });
    let (served, drain) = (process.tasks.clone(), process.drain.clone());
    process.tasks.spawn(Kind::Dispatch, async move {
        drain.closing().await;
        assert_eq!(served.0.front.len(), 0, "closed while a client was there");
    });
    let begun = tokio::time::Instant::now();
    let drained = process.finish(Duration::from_secs(30)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(28), "the rest is for the tasks that clients stood on");
    assert_eq!(drained.aborted, 1);
    dropped.await.unwrap();
    assert_eq!(process.metrics.task.aborted(Kind::Connection).get(), 1);
    assert_eq!(process.tasks.count(), 0);
    assert_eq!(*process.tasks.failure().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_clients_is_over_at_once() {
    let process = process();
    let drain = process.drain.clone();
    process.tasks.spawn(Kind::Dispatch, async move { drain.closing().await });
    let begun = tokio::time::Instant::now();
    assert_eq!(process.finish(Duration::from_secs(30)).await.aborted, 0);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_task_that_ends_before_its_handle_is_stored_leaves_no_trace() {
    let mut running = Running::default();
    let early = running.reserve();
    running.leave(early);
    let next = running.reserve();
    assert_eq!(early.slot, next.slot);
    #[expect(clippy::disallowed_methods, reason = "a handle of any task")]
    let handle = tokio::spawn(async {}).abort_handle();
    running.fill(early, Kind::Connection, handle.clone());
    assert_eq!(running.take(Wave::Front).len(), 0);
    running.fill(next, Kind::Connection, handle);
    assert_eq!(running.take(Wave::Front).len(), 1);
    running.leave(next);
    running.leave(next);
    assert_eq!((running.take(Wave::Front).len(), running.free.len()), (0, 1));
}

#[test]
fn a_spawn_on_a_runtime_that_is_gone_drops_the_task_and_does_not_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _entered = handle.enter();
    let process = process();
    process.tasks.spawn(Kind::Connection, std::future::pending());
    assert_eq!(process.tasks.count(), 0);
    assert_eq!(process.tasks.abort(Wave::Front), 0);
}
