//! The GPU that the browser gives to the page.

use crate::failure::{Kind, thrown};
use ocelli::gpu::{AdapterKind, Gpu, GpuOptions};
use ocelli::plan::check_adapter;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// An open GPU.
#[wasm_bindgen]
pub struct Device {
    pub(crate) gpu: Arc<Gpu>,
}

#[wasm_bindgen]
impl Device {
    /// Asks the browser for its GPU. Throws `NoWebGpu` if there is none, or one that computes wrong numbers.
    pub async fn open() -> Result<Device, JsValue> {
        // Where the adapter is there and does not open, or computes something wrong, there is no GPU for the page either.
        let gpu = Self::tried().await.map_err(|e| match e {
            ocelli::Error::Gpu(report) => thrown(&ocelli::Error::NoAdapter(report), None, Kind::NoWebGpu),
            other => thrown(&other, None, Kind::NoWebGpu),
        })?;
        Ok(Self { gpu })
    }

    async fn tried() -> ocelli::Result<Arc<Gpu>> {
        let gpu = Gpu::open_async(&GpuOptions::default()).await?;
        // A browser has one thread for this: the counter is that of the library's sessions.
        #[allow(clippy::arc_with_non_send_sync)]
        let gpu = Arc::new(gpu);
        check_adapter(&gpu).await?;
        Ok(gpu)
    }

    /// Whether it computes on the processor.
    #[wasm_bindgen(getter)]
    pub fn software(&self) -> bool {
        self.gpu.info().kind == AdapterKind::Cpu
    }

    /// What it can do, as JSON.
    pub fn info(&self) -> String {
        let info = self.gpu.info();
        serde_json::json!({
            "name": info.name,
            "software": self.software(),
            "f16": info.f16,
            "maxBufferBytes": info.max_buffer_bytes,
            "maxBindingBytes": info.max_binding_bytes,
        })
        .to_string()
    }
}
