//! Why a network answers as it does: Grad-CAM, occlusion, DeconvNet.

use crate::failure::{Kind, failure, thrown};
use crate::network::Network;
use ocelli::explain::{self, Class, Map, OcclusionOptions};
use ocelli::gpu::{AdapterKind, Gpu};
use std::ops::ControlFlow;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// Multiply-adds of a batch, on a GPU and on the processor: so that the page hears of its progress about every second.
const BATCH_MACS: [u64; 2] = [20_000_000_000, 1_000_000_000];

/// Explains a network.
#[wasm_bindgen]
pub struct Explainer {
    gpu: Arc<Gpu>,
    explainer: explain::Explainer,
}

/// An explanation.
#[wasm_bindgen]
pub struct Explained {
    info: String,
    image: Vec<f32>,
    map: Vec<f32>,
}

#[wasm_bindgen]
impl Explained {
    /// What it explains, and the sizes, as JSON.
    pub fn info(&self) -> String {
        self.info.clone()
    }

    /// The heat of each pixel of the input, or the DeconvNet picture: red, green and blue of each.
    pub fn image(&self) -> Vec<f32> {
        self.image.clone()
    }

    /// What the heat was scaled from, row by row.
    pub fn map(&self) -> Vec<f32> {
        self.map.clone()
    }
}

#[wasm_bindgen]
impl Network {
    /// Makes an explainer, which shares the weights. Throws `TooLarge` if there is not enough memory; the network can still be used.
    pub async fn explainer(&self) -> Result<Explainer, JsValue> {
        let made = explain::Explainer::new_async(&self.classifier, |_| {}).await;
        let mut explainer = made.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))?;
        let [on_gpu, on_processor] = BATCH_MACS;
        let most = if self.gpu.info().kind == AdapterKind::Cpu { on_processor } else { on_gpu };
        explainer.set_largest_batch((most / self.classifier.cost().macs.max(1)) as usize);
        Ok(Explainer { gpu: self.gpu.clone(), explainer })
    }
}

#[wasm_bindgen]
impl Explainer {
    /// Grad-CAM of a picture from [`Network::prepare`], for the most probable class and at the last map if none are given. Throws
    /// `Internal` if there is no such class or layer, `TooLarge` and `DeviceLost`.
    pub async fn grad_cam(
        &mut self,
        pixels: Vec<u8>,
        class: Option<usize>,
        layer: Option<String>,
    ) -> Result<Explained, JsValue> {
        let input = self.input(pixels)?;
        let found = explain::grad_cam_async(&mut self.explainer, &input, class, layer.as_deref()).await;
        let found = found.map_err(|e| self.thrown(&e))?;
        let mut info = self.of_class(found.class, &found.map);
        info.insert("layer".to_owned(), found.layer.into());
        Ok(Explained { info: text(info), image: found.heat.data, map: found.map.data })
    }

    /// Occlusion of a picture from [`Network::prepare`], for the most probable class and with a square that suits the input if none are
    /// given. `progress` is called with how many places of how many are done, and returns whether to stop. Throws as
    /// [`Explainer::grad_cam`].
    pub async fn occlusion(
        &mut self,
        pixels: Vec<u8>,
        class: Option<usize>,
        square: Option<usize>,
        stride: Option<usize>,
        progress: js_sys::Function,
    ) -> Result<Explained, JsValue> {
        let input = self.input(pixels)?;
        let options = OcclusionOptions { size: square, stride, ..OcclusionOptions::default() };
        let mut tell = |done: usize, all: usize| {
            let stop = progress.call2(&JsValue::NULL, &done.into(), &all.into());
            if stop.is_ok_and(|stop| !stop.is_truthy()) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let found = explain::occlusion_async(&mut self.explainer, &input, class, options, &mut tell).await;
        let found = found.map_err(|e| self.thrown(&e))?;
        let mut info = self.of_class(found.class, &found.map);
        info.insert("square".to_owned(), found.size.into());
        info.insert("rows".to_owned(), found.rows.into());
        info.insert("columns".to_owned(), found.columns.into());
        Ok(Explained { info: text(info), image: found.heat.data, map: found.map.data })
    }

    /// What made a channel of a layer fire for a picture from [`Network::prepare`]. The image is empty if it does not fire. Throws
    /// `Internal` if there is no such layer or channel, `TooLarge` and `DeviceLost`.
    pub async fn deconvnet(
        &mut self,
        pixels: Vec<u8>,
        layer: String,
        unit: usize,
    ) -> Result<Explained, JsValue> {
        let input = self.input(pixels)?;
        let layer = self.explainer.layer(&layer).map_err(|e| self.thrown(&e))?.clone();
        let inputs = std::slice::from_ref(&input);
        let found = explain::deconvnet_of_pictures_async(&mut self.explainer, &layer, unit, inputs).await;
        let found = found.map_err(|e| self.thrown(&e))?.into_iter().next();
        let Some(found) = found else { return Err(failure(Kind::Internal, "one picture gave nothing")) };
        let info = serde_json::json!({
            "layer": found.layer,
            "unit": found.unit,
            "place": found.place,
            "size": [layer.shape[0], layer.shape[1]],
            "activation": found.activation,
            "field": found.field,
        });
        let image = if found.activation > 0.0 { found.image.data } else { Vec::new() };
        Ok(Explained { info: info.to_string(), image, map: Vec::new() })
    }

    fn input(&self, pixels: Vec<u8>) -> Result<explain::Input, JsValue> {
        self.explainer.prepared(pixels).map_err(|e| thrown(&e, None, Kind::BadPicture))
    }

    fn thrown(&self, error: &ocelli::Error) -> JsValue {
        // Numbers that overflow are those of the weights.
        let data = if matches!(error, ocelli::Error::Data(_)) { Kind::BadWeights } else { Kind::Internal };
        thrown(error, Some(&self.gpu), data)
    }

    fn of_class(&self, class: Class, map: &Map) -> Object {
        let [height, width, _] = map.shape;
        let label = self.explainer.class_names().get(class.index).cloned().unwrap_or_default();
        [
            ("index", class.index.into()),
            ("label", label.into()),
            ("probability", class.probability.into()),
            ("size", vec![height, width].into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn text(info: Object) -> String {
    serde_json::Value::Object(info).to_string()
}
