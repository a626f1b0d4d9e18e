//! A file of weights on its way in: its bytes are in memory once.

use crate::failure::{Kind, failure};
use wasm_bindgen::prelude::*;

/// The bytes of a file, in the order in which they arrive.
#[wasm_bindgen]
pub struct Weights {
    bytes: Vec<u8>,
}

#[wasm_bindgen]
impl Weights {
    /// Room for a file of so many bytes; of 0 if nobody knows. Throws `TooLarge` if there is not so much memory.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: f64) -> Result<Weights, JsValue> {
        let mut weights = Self { bytes: Vec::new() };
        // What is no number or negative becomes 0, what is too large the largest.
        weights.reserve(bytes as usize)?;
        Ok(weights)
    }

    /// More of the file. Throws `TooLarge` if there is no memory for it.
    pub fn push(&mut self, chunk: &js_sys::Uint8Array) -> Result<(), JsValue> {
        let (before, more) = (self.bytes.len(), chunk.length() as usize);
        if self.bytes.capacity() - before < more {
            // As a vector grows by itself, but with an error where it cannot.
            let doubled = self.reserve(more.max(before));
            doubled.or_else(|_| self.reserve(more))?;
        }
        self.bytes.resize(before + more, 0);
        if let Some(room) = self.bytes.get_mut(before..) {
            chunk.copy_to(room);
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), JsValue> {
        self.bytes.try_reserve_exact(bytes).map_err(|_| {
            let mib = bytes >> 20;
            failure(Kind::TooLarge, &format!("a file of {mib} MiB does not fit into the memory of this page"))
        })
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
