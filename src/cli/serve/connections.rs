//! The connections of `ocelli serve`. Their number is limited, and the idlest is closed first.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// A connection that has transferred nothing for this time may be closed in favour of another one.
const IDLE: Duration = Duration::from_secs(1);

/// A limited number of places for connections.
pub(super) struct Connections {
    most: usize,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Connection>,
}

struct Connection {
    moved: Instant,
    /// Aborts the task of the connection. `None` until the task is spawned.
    end: Option<AbortHandle>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, table: Mutex::default(), freed: Notify::new() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change is one assignment, so a panicking thread leaves the table consistent.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place and spawns a task that holds it.
    pub(super) async fn spawn<F>(self: &Arc<Self>, task: impl FnOnce(Place) -> F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = self.place().await;
        let id = place.id;
        let end = tokio::spawn(task(place)).abort_handle();
        if let Some(connection) = self.table().open.get_mut(&id) {
            connection.end = Some(end.clone());
        }
        end
    }

    /// Closes the connection that has been idle longest, if it has been idle for [`IDLE`]. Returns the time to wait
    /// before the next try.
    pub(super) fn give_up_one(&self) -> Duration {
        let table = self.table();
        let idlest = table.open.values().filter(|c| c.end.is_some()).min_by_key(|c| c.moved);
        let Some(Connection { moved, end: Some(end) }) = idlest else { return IDLE };
        let left = IDLE.saturating_sub(moved.elapsed());
        if !left.is_zero() {
            return left;
        }
        // Its place becomes free when its task is dropped.
        end.abort();
        IDLE
    }

    /// Waits for a place. If all are taken, the connection that has been idle longest is closed.
    async fn place(self: &Arc<Self>) -> Place {
        loop {
            {
                let mut table = self.table();
                if table.open.len() < self.most {
                    let id = table.next;
                    table.next += 1;
                    table.open.insert(id, Connection { moved: Instant::now(), end: None });
                    return Place { id, connections: self.clone() };
                }
            }
            let wait = self.give_up_one();
            // After either a timeout or a freed place, try again.
            let _ = timeout(wait, self.freed.notified()).await;
        }
    }
}

/// A place. Dropping it makes it free again.
pub(super) struct Place {
    id: u64,
    connections: Arc<Connections>,
}

impl Place {
    /// Notes that the connection has transferred bytes.
    fn moves(&self) {
        if let Some(connection) = self.connections.table().open.get_mut(&self.id) {
            connection.moved = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.id);
        self.connections.freed.notify_one();
    }
}

/// A stream that reports transfers to its [`Place`]. A write fails if the peer takes nothing for `patience`.
pub(super) struct Watched<S> {
    stream: S,
    place: Place,
    patience: Duration,
    /// The timeout of a write. `Some` while the peer takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, place: Place, patience: Duration) -> Self {
        Self { stream, place, patience, stuck: None }
    }

    /// Handles the outcome of a write. A write that has been pending for `patience` is an error.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            self.place.moves();
            return outcome;
        }
        let patience = self.patience;
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.place.moves();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A stream that takes a number of bytes and then none until `room` is called.
    #[derive(Clone, Default)]
    struct Narrow(Arc<Mutex<(usize, Option<Waker>)>>);

    impl Narrow {
        fn room(&self, bytes: usize) {
            let mut inside = self.0.lock().unwrap();
            inside.0 += bytes;
            inside.1.take().into_iter().for_each(Waker::wake);
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let mut inside = self.0.lock().unwrap();
            if inside.0 == 0 {
                inside.1 = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let taken = bytes.len().min(inside.0);
            inside.0 -= taken;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        block_on(async {
            let far = Narrow::default();
            let place = Connections::new(1).place().await;
            let mut near = Watched::new(far.clone(), place, Duration::from_millis(500));
            let mut write =
                async || std::future::poll_fn(|cx| Pin::new(&mut near).poll_write(cx, b"abcdef")).await;
            far.room(4);
            assert_eq!(write().await.unwrap(), 4);
            let start = Instant::now();
            let slow = tokio::spawn(async move {
                for _ in 0..6 {
                    sleep(Duration::from_millis(100)).await;
                    far.room(1);
                }
            });
            for _ in 0..6 {
                assert_eq!(write().await.unwrap(), 1, "after {:?}", start.elapsed());
            }
            slow.await.unwrap();
            assert!(start.elapsed() > Duration::from_millis(500), "longer than nothing may be taken");
            assert_eq!(write().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn the_idlest_goes_first() {
        block_on(async {
            let connections = Connections::new(2);
            let mut tasks = Vec::new();
            for _ in 0..2 {
                let busy = tasks.len() == 1;
                let task = async move |place: Place| loop {
                    sleep(Duration::from_millis(50)).await;
                    if busy {
                        place.moves();
                    }
                };
                tasks.push(connections.spawn(task).await);
            }
            let start = Instant::now();
            let third = connections.place().await;
            assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
            assert!(tasks[0].is_finished(), "who did nothing is gone");
            assert!(!tasks[1].is_finished(), "who did something is there");
            drop(third);
            assert_eq!(connections.table().open.len(), 1);
        });
    }
}
