//! A look inside the network: layers, activations, filters, times.

use crate::failure::{Kind, thrown};
use crate::network::Network;
use ocelli::data::ChannelOrder;
use ocelli::gpu::Gpu;
use ocelli::infer;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker began.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn milliseconds() -> f64;
}

/// The first filters of a network.
#[wasm_bindgen]
pub struct Filters {
    filters: infer::Filters,
    bgr: bool,
}

#[wasm_bindgen]
impl Filters {
    /// Layer, shape and order of the colours, as JSON.
    pub fn info(&self) -> String {
        let [count, height, width, channels] = self.filters.shape;
        let colours = match (channels, self.bgr) {
            (3, false) => "rgb",
            (3, true) => "bgr",
            _ => "none",
        };
        serde_json::json!({
            "layer": self.filters.layer,
            "count": count,
            "height": height,
            "width": width,
            "channels": channels,
            "colours": colours,
        })
        .to_string()
    }

    /// The weights, filter by filter, row by row.
    pub fn data(&self) -> Vec<f32> {
        self.filters.data.clone()
    }
}

/// The network with memory for what each of its layers makes of a picture.
#[wasm_bindgen]
pub struct ActivationRecorder {
    gpu: Arc<Gpu>,
    inside: infer::ActivationRecorder,
}

#[wasm_bindgen]
impl ActivationRecorder {
    /// Runs what [`Network::prepare`] made through the network. Throws `DeviceLost`.
    pub fn run(&self, input: &[u8]) -> Result<(), JsValue> {
        self.inside.run(input).map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadPicture))
    }

    /// What the layer of this number has made of the last picture, row by row, pixel by pixel. Throws `DeviceLost`, and `BadWeights`
    /// if its numbers overflow.
    pub async fn activations(&self, layer: usize) -> Result<Vec<f32>, JsValue> {
        let activations = self.inside.activations(layer).await;
        activations.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }
}

#[wasm_bindgen]
impl Network {
    /// Its layers in order, as JSON.
    pub fn layers(&self) -> String {
        serde_json::to_string(self.step.layers()).unwrap_or_else(|_| "[]".to_owned())
    }

    /// Whether what [`Network::prepare`] makes has blue first.
    #[wasm_bindgen(getter)]
    pub fn bgr(&self) -> bool {
        self.metadata.preprocessing.order == ChannelOrder::Bgr
    }

    /// Makes memory for a look inside. Throws `TooLarge` if there is not enough; the network can be used as before.
    pub async fn look(&self) -> Result<ActivationRecorder, JsValue> {
        let inside = infer::ActivationRecorder::new(&self.step).await;
        let inside = inside.map_err(|e| thrown(&e, Some(&self.gpu), Kind::TooLarge))?;
        Ok(ActivationRecorder { gpu: self.gpu.clone(), inside })
    }

    /// The filters of its first convolution; nothing of a network that has none. Throws `DeviceLost`.
    pub async fn filters(&self) -> Result<Option<Filters>, JsValue> {
        let filters = self.step.filters().await;
        let filters = filters.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))?;
        Ok(filters.map(|filters| Filters { filters, bgr: self.bgr() }))
    }

    /// Runs once more on the last picture and measures each layer: the clock and milliseconds, as JSON. Throws `DeviceLost`.
    pub async fn timings(&self) -> Result<String, JsValue> {
        let times = self.step.time_layers(&milliseconds).await;
        let (clock, ms) = times.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))?;
        Ok(serde_json::json!({ "clock": clock, "ms": ms }).to_string())
    }
}
