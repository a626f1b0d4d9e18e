//! A network with trained weights on the visitor's GPU.

use crate::device::Device;
use crate::failure::{Kind, failure, thrown};
use crate::kernels;
use crate::weights::Weights;
use ocelli::data::{Picture, fit};
use ocelli::exchange::{OpenOptions, Opened};
use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::infer::{InferenceStep, most_probable};
use ocelli::weights::Metadata;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// The largest picture that is taken, in pixels; the same as that of a picture in a file.
const MAX_PIXELS: u64 = 64 << 20;

/// A network, ready to classify one picture at a time.
#[wasm_bindgen]
pub struct Network {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) step: InferenceStep,
    pub(crate) metadata: Metadata,
    info: String,
}

#[wasm_bindgen]
impl Network {
    /// Makes the network of a file (safetensors or ONNX) and writes its weights to the GPU; the bytes of the file are gone
    /// afterwards. `arch` names the variant where the file does not and several fit. Throws `BadWeights` and `TooLarge`.
    pub fn open(device: &Device, weights: Weights, arch: Option<String>) -> Result<Network, JsValue> {
        let gpu = device.gpu.clone();
        let bytes = weights.into_bytes();
        let size = bytes.len();
        let made = Self::make(&gpu, bytes, size, arch.as_deref());
        made.map_err(|e| thrown(&e, Some(&gpu), Kind::BadWeights))
    }

    fn make(gpu: &Arc<Gpu>, bytes: Vec<u8>, size: usize, arch: Option<&str>) -> ocelli::Result<Self> {
        let opened = Opened::parse(bytes, OpenOptions { arch, ..OpenOptions::default() })?;
        let network = opened.model.network(&opened.settings(1))?;
        let parameters: usize =
            network.parameters.iter().filter(|p| p.trained).filter_map(|p| p.shape.elements()).sum();
        let options = kernels::options(gpu, &network)?;
        let step = InferenceStep::new(gpu, network, &options)?;
        let Opened { format, model, metadata, named, assumed, tensors } = opened;
        step.load(tensors.as_ref())?;
        let plan = step.session().plan();
        let info = serde_json::json!({
            "arch": model.name(),
            "format": format.to_string(),
            "fileBytes": size,
            "parameters": parameters,
            "macs": plan.macs(),
            "input": metadata.input,
            "classes": metadata.classes,
            "named": named,
            "preprocessing": metadata.preprocessing.to_string(),
            "preprocessingAssumed": assumed,
            "gpuBytes": plan.memory().total(),
            "kernels": plan.dispatches().len(),
            "precision": "f32",
            "software": gpu.info().kind == AdapterKind::Cpu,
        });
        Ok(Self { gpu: gpu.clone(), step, metadata, info: info.to_string() })
    }

    /// What the network is, as JSON.
    pub fn info(&self) -> String {
        self.info.clone()
    }

    /// Brings a picture of any size, RGBA row by row, to what the network is fed: the input's height x width RGBA pixels.
    /// Throws `BadPicture`.
    pub fn prepare(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<Vec<u8>, JsValue> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS || rgba.len() as u64 != 4 * pixels {
            return Err(failure(
                Kind::BadPicture,
                &format!(
                    "a picture of {width}x{height} in {} bytes; it must have 1 pixel to 64 megapixels",
                    rgba.len()
                ),
            ));
        }
        let mut picture = Picture { height: height as usize, width: width as usize, rgba };
        // As when a file is read: transparency is dropped.
        picture.rgba.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel[3] = 255);
        let [h, w, _] = self.metadata.input;
        let fitted = fit(picture, &self.metadata.preprocessing, h, w);
        Ok(fitted.map_err(|e| thrown(&e, None, Kind::BadPicture))?.rgba)
    }

    /// The logits of what [`Network::prepare`] made, in the order of the classes. Throws `DeviceLost`. One call at a time.
    pub async fn logits(&self, input: Vec<u8>) -> Result<Vec<f32>, JsValue> {
        let thrown = |e: ocelli::Error| thrown(&e, Some(&self.gpu), Kind::BadPicture);
        let run = self.step.start(&input).map_err(thrown)?;
        self.step.logits(&run).await.map_err(thrown)
    }

    /// The `count` most probable classes of logits, most probable first, as JSON.
    pub fn top(&self, logits: &[f32], count: usize) -> String {
        let top = most_probable(logits, &self.metadata.classes, count);
        serde_json::to_string(&top).unwrap_or_else(|_| "[]".to_owned())
    }
}
