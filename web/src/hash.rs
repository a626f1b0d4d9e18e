//! SHA-256 of a file that passes: the browser's own digest wants the whole file at once.

use sha2::Digest;
use wasm_bindgen::prelude::*;

/// The hash of the bytes so far.
#[wasm_bindgen]
#[derive(Default)]
pub struct Sha256(sha2::Sha256);

#[wasm_bindgen]
impl Sha256 {
    /// Of no bytes.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Sha256 {
        Self::default()
    }

    /// Of these too.
    pub fn update(&mut self, chunk: &[u8]) {
        self.0.update(chunk);
    }

    /// Its 32 bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}
