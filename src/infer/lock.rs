//! The lock of a classifier's step. Natively a caller waits in its thread. A browser has one thread, so that a caller waits as a future
//! there.

#[cfg(target_family = "wasm")]
pub(super) use futures_util::lock::{Mutex, MutexGuard};

#[cfg(not(target_family = "wasm"))]
pub(super) use native::{Mutex, MutexGuard};

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::ops::{Deref, DerefMut};
    use std::sync::{self, PoisonError};

    pub struct Mutex<T>(sync::Mutex<T>);

    /// The futures of a classifier hold it while they await. Natively none of them is ever pending, so that no other future of the
    /// thread runs meanwhile and waits for it.
    pub struct MutexGuard<'a, T>(sync::MutexGuard<'a, T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub fn lock_blocking(&self) -> MutexGuard<'_, T> {
            // The step keeps no state between its calls that a panic could leave half-changed.
            MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub async fn lock(&self) -> MutexGuard<'_, T> {
            self.lock_blocking()
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }
}
