//! Layers of the network: activations, filters, times.

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

/// Records the activations of all layers for a picture.
#[wasm_bindgen]
pub struct ActivationRecorder {
    gpu: Arc<Gpu>,
    recorder: infer::ActivationRecorder,
}

#[wasm_bindgen]
impl ActivationRecorder {
    /// Runs the network on a picture from [`Network::prepare`]. Throws `DeviceLost`.
    pub fn run(&self, input: &[u8]) -> Result<(), JsValue> {
        self.recorder.run(input).map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadPicture))
    }

    /// The activations of the layer of this number for the last picture, row by row, pixel by pixel. Throws `DeviceLost`, and
    /// `BadWeights` if they overflow.
    pub async fn activations(&self, layer: usize) -> Result<Vec<f32>, JsValue> {
        let activations = self.recorder.activations(layer).await;
        activations.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }
}

#[wasm_bindgen]
impl Network {
    /// The layers in order, as JSON.
    pub fn layers(&self) -> String {
        serde_json::to_string(self.classifier.layers()).unwrap_or_else(|_| "[]".to_owned())
    }

    /// Whether the pixels of [`Network::prepare`] have blue first.
    #[wasm_bindgen(getter)]
    pub fn bgr(&self) -> bool {
        self.classifier.metadata().preprocessing.order == ChannelOrder::Bgr
    }

    /// Allocates memory for the activations of all layers. Throws `TooLarge` if there is not enough; the network can still be used.
    pub async fn look(&self) -> Result<ActivationRecorder, JsValue> {
        let recorder = self.classifier.recorder_async().await;
        let recorder = recorder.map_err(|e| thrown(&e, Some(&self.gpu), Kind::TooLarge))?;
        Ok(ActivationRecorder { gpu: self.gpu.clone(), recorder })
    }

    /// The filters of the first convolution; undefined if there is none. Throws `DeviceLost`.
    pub async fn filters(&self) -> Result<Option<Filters>, JsValue> {
        let filters = self.classifier.filters_async().await;
        let filters = filters.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))?;
        Ok(filters.map(|filters| Filters { filters, bgr: self.bgr() }))
    }

    /// Runs the network again on the last picture and measures each layer: the clock and milliseconds, as JSON. Throws `DeviceLost`.
    pub async fn timings(&self) -> Result<String, JsValue> {
        let times = self.classifier.time_layers_async(&milliseconds).await;
        let (clock, ms) = times.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))?;
        Ok(serde_json::json!({ "clock": clock, "ms": ms }).to_string())
    }
}
