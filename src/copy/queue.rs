//! Tasks that workers on several threads share: the dearest first, and a task may bring others.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The tasks that are left. Costs are in no unit: the greatest is taken first, of equal ones the one that came first.
pub(super) struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: BTreeMap<(Reverse<u64>, u64), T>,
    added: u64,
    busy: usize,
    waiting: usize,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(super) fn new() -> Self {
        let state = State { ready: BTreeMap::new(), added: 0, busy: 0, waiting: 0 };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// Adds a task.
    pub(super) fn add(&self, cost: u64, task: T) {
        let mut state = self.state();
        state.added += 1;
        let number = state.added;
        state.ready.insert((Reverse(cost), number), task);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Takes the dearest task; waits while others at work may still bring one; `None` when all is done. Who took a task says
    /// [`Queue::done`] before taking the next.
    pub(super) async fn take(&self) -> Option<T> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if let Some((_, task)) = state.ready.pop_first() {
                    state.busy += 1;
                    return Some(task);
                }
                if state.busy == 0 {
                    return None;
                }
                state.waiting += 1;
            }
            changed.await;
            self.state().waiting -= 1;
        }
    }

    /// A task that was taken is done.
    pub(super) fn done(&self) {
        self.state().busy -= 1;
        self.0.changed.notify_waiters();
    }

    /// How many workers wait for a task.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::on_threads;

    #[tokio::test]
    async fn the_dearest_comes_first_and_tasks_bring_tasks() {
        let queue = Queue::new();
        for cost in [1, 3, 2] {
            queue.add(cost, cost);
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, kept) = (queue.clone(), Arc::clone(&seen));
        on_threads(1, vec![()], move |_| {
            let (queue, seen) = (shared.clone(), Arc::clone(&kept));
            async move {
                while let Some(task) = queue.take().await {
                    seen.lock().unwrap().push(task);
                    if task == 3 {
                        queue.add(10, 10);
                    }
                    queue.done();
                }
                Ok(())
            }
        })
        .await
        .unwrap();
        assert_eq!(*seen.lock().unwrap(), [3, 10, 2, 1]);
    }

    #[tokio::test]
    async fn workers_wait_for_what_others_bring() {
        let queue = Queue::new();
        queue.add(1, 100_u32);
        let sum = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (shared, total) = (queue.clone(), Arc::clone(&sum));
        on_threads(3, vec![(); 3], move |_| {
            let (queue, total) = (shared.clone(), Arc::clone(&total));
            async move {
                while let Some(task) = queue.take().await {
                    tokio::task::yield_now().await;
                    total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if task > 1 {
                        queue.add(u64::from(task), task / 2);
                        queue.add(u64::from(task), task - task / 2);
                    }
                    queue.done();
                }
                Ok(())
            }
        })
        .await
        .unwrap();
        assert_eq!(sum.load(std::sync::atomic::Ordering::Relaxed), 199);
        assert_eq!(queue.waiting(), 0);
    }
}
