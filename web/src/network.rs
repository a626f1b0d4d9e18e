//! A network with trained weights on the visitor's GPU.

use crate::device::Device;
use crate::failure::{Kind, failure, thrown};
use crate::kernels;
use crate::weights::{Known, Weights};
use ocelli::data::{Picture, fit};
use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::infer::transfer::Loading;
use ocelli::infer::{InferenceStep, most_probable};
use ocelli::weights::{Metadata, Source, StreamEvent, StreamReader};
use std::cell::RefCell;
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
    /// What has not come of its file. Behind a cell, for its kernels are compiled in the meantime.
    missing: RefCell<Option<Missing>>,
}

/// What has not been written to the GPU of a file.
enum Missing {
    /// The rest of a file that arrives.
    Rest(Box<Rest>),
    /// Everything, of a file that is there as a whole.
    Whole(Arc<dyn Source>),
}

struct Rest {
    arriving: Box<StreamReader>,
    tensors: Arc<dyn Source>,
    loading: Loading,
}

#[wasm_bindgen]
impl Network {
    /// Makes the network of a file whose [`Weights::push`] has said that this can be done, or that has ended. Its weights are written to
    /// the GPU by [`Network::push`] and [`Network::finish`], those of a file that arrives that are there already now. `arch` names the variant
    /// where the file does not and several fit. Throws `BadWeights` and `TooLarge`.
    pub fn open(device: &Device, weights: Weights, arch: Option<String>) -> Result<Network, JsValue> {
        let gpu = device.gpu.clone();
        let known = weights.known()?;
        let made = Self::make(&gpu, known, arch.as_deref());
        made.map_err(|e| thrown(&e, Some(&gpu), Kind::BadWeights))
    }

    fn make(gpu: &Arc<Gpu>, known: Known, arch: Option<&str>) -> ocelli::Result<Self> {
        let options = OpenOptions { arch, ..OpenOptions::default() };
        let (opened, on_its_way) = match known {
            Known::Whole(bytes) => (ModelFile::parse(bytes, options)?, None),
            Known::Header { arriving, file, rest } => {
                (ModelFile::of_safetensors(file, options)?, Some((arriving, rest)))
            }
        };
        let network = opened.model.network(&opened.settings(1))?;
        let parameters: usize =
            network.parameters.iter().filter(|p| p.trained).filter_map(|p| p.shape.elements()).sum();
        let step = InferenceStep::new(gpu, network, &kernels::options(gpu))?;
        let ModelFile { format, model, metadata, named, assumed, notes, tensors, .. } = opened;
        let plan = step.session().plan();
        let info = serde_json::json!({
            "arch": model.name(),
            "format": format.to_string(),
            "parameters": parameters,
            "macs": plan.macs(),
            "input": metadata.input,
            "classes": metadata.classes,
            "named": named,
            "preprocessing": metadata.preprocessing.to_string(),
            "preprocessingAssumed": assumed,
            "notes": notes,
            "gpuBytes": plan.memory().total(),
            "kernels": plan.dispatches().len(),
            "precision": "f32",
            "software": gpu.info().kind == AdapterKind::Cpu,
        });
        let made =
            Self { gpu: gpu.clone(), step, metadata, info: info.to_string(), missing: RefCell::default() };
        match on_its_way {
            None => {
                made.missing.replace(Some(Missing::Whole(tensors)));
            }
            Some((arriving, rest)) => {
                let loading = Loading::new(made.step.parameters().iter(), tensors.as_ref())?;
                made.missing.replace(Some(Missing::Rest(Box::new(Rest { arriving, tensors, loading }))));
                made.take(&rest)?;
            }
        }
        Ok(made)
    }

    /// Waits until the kernels are compiled, which goes on while the file comes. Throws `DeviceLost`, and `TooLarge` if
    /// there is no memory for them.
    pub async fn compiled(&self) -> Result<(), JsValue> {
        let compiled = self.step.session().compiled().await;
        compiled.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))
    }

    /// More of the file. Throws `BadWeights`, `TooLarge` and `DeviceLost`.
    pub fn push(&self, chunk: &[u8]) -> Result<(), JsValue> {
        self.take(chunk).map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }

    fn take(&self, mut chunk: &[u8]) -> ocelli::Result<()> {
        let mut missing = self.missing.borrow_mut();
        let Some(Missing::Rest(rest)) = missing.as_mut() else { return Ok(()) };
        let Rest { arriving, tensors, loading } = rest.as_mut();
        while !chunk.is_empty() {
            if let StreamEvent::Rows(name, rows) = arriving.take(&mut chunk)? {
                loading.take(self.step.session(), tensors.as_ref(), &name, rows)?;
            }
        }
        Ok(())
    }

    /// No more comes: what is there and has not been written to the GPU is written now. Throws `BadWeights` if the file is not whole or
    /// holds numbers that are none.
    pub fn finish(&self) -> Result<(), JsValue> {
        let whole = match self.missing.take() {
            None => Ok(()),
            Some(Missing::Whole(tensors)) => self.step.load(tensors.as_ref()),
            Some(Missing::Rest(rest)) => {
                let Rest { arriving, loading, .. } = *rest;
                arriving.finish().and_then(|()| loading.finish())
            }
        };
        whole.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
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
        let picture = Picture::from_rgba(height as usize, width as usize, rgba);
        let mut picture = picture.map_err(|e| thrown(&e, None, Kind::BadPicture))?;
        // As when a file is read: transparency is dropped.
        picture.rgba_mut().as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel[3] = 255);
        let [h, w, _] = self.metadata.input;
        let fitted = fit(picture, &self.metadata.preprocessing, h, w);
        Ok(fitted.map_err(|e| thrown(&e, None, Kind::BadPicture))?.into_rgba())
    }

    /// The logits of what [`Network::prepare`] made, in the order of the classes. Throws `DeviceLost`, and
    /// `BadWeights` if the network's numbers overflow. One call at a time.
    pub async fn logits(&self, input: Vec<u8>) -> Result<Vec<f32>, JsValue> {
        let run = self.step.start(&input).map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadPicture))?;
        let logits = self.step.logits(&run).await;
        logits.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }

    /// The `count` most probable classes of logits, most probable first, as JSON. Throws `BadWeights` for numbers that are none.
    pub fn top(&self, logits: &[f32], count: usize) -> Result<String, JsValue> {
        let top = most_probable(logits, &self.metadata.classes, count);
        let top = top.map_err(|e| thrown(&e, None, Kind::BadWeights))?;
        Ok(serde_json::to_string(&top).unwrap_or_else(|_| "[]".to_owned()))
    }
}
