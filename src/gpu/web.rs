//! Compilation and read-back in a browser, where no call may block the page.

use super::device::Gpu;
use super::kernel::Kernel;
use super::resource::{Buffer, Reading};
use super::submit::Submission;
use crate::error::{Error, Result};
use js_sys::{Function, Object, Promise, Reflect};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The state that a callback shares with the future that waits for it.
struct Shared<T> {
    done: Option<T>,
    waiting: Option<Waker>,
}

/// Starts to compile a kernel. `modules` caches the shader modules by their text.
fn begin(
    device: &JsValue,
    kernel: &Kernel,
    modules: &mut HashMap<String, JsValue>,
) -> std::result::Result<Promise, JsValue> {
    let source = kernel.source();
    let module = match modules.get(&source) {
        Some(module) => module.clone(),
        None => {
            let descriptor = object([("label", kernel.name.into()), ("code", source.as_str().into())])?;
            let module = call(device, "createShaderModule", &descriptor)?;
            modules.insert(source, module.clone());
            module
        }
    };
    let constants = object(kernel.constants.iter().map(|(name, value)| (*name, (*value).into())))?;
    let stage =
        object([("module", module), ("entryPoint", kernel.entry.into()), ("constants", constants.into())])?;
    let descriptor =
        object([("label", kernel.name.into()), ("layout", "auto".into()), ("compute", stage.into())])?;
    call(device, "createComputePipelineAsync", &descriptor)?.dyn_into()
}

/// Calls a method of a JavaScript object.
fn call(of: &JsValue, method: &str, argument: &JsValue) -> std::result::Result<JsValue, JsValue> {
    Reflect::get(of, &method.into())?.dyn_into::<Function>()?.call1(of, argument)
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, JsValue)>) -> std::result::Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &name.into(), &value)?;
    }
    Ok(object)
}

/// Waits for the callback that is passed to `begin`, and returns its argument.
async fn called_back<T: Send + 'static>(begin: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let shared = Arc::new(Mutex::new(Shared { done: None, waiting: None }));
    let ours = shared.clone();
    begin(Box::new(move |done| {
        let mut shared = ours.lock().unwrap_or_else(PoisonError::into_inner);
        shared.done = Some(done);
        if let Some(waker) = shared.waiting.take() {
            waker.wake();
        }
    }));
    poll_fn(|context| {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.done.take() {
            Some(done) => Poll::Ready(done),
            None => {
                shared.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

impl Gpu {
    /// Compiles kernels in parallel with each other and with the other work of the browser's GPU process.
    /// [`Gpu::pipeline`] finds the pipelines afterwards.
    ///
    /// # Errors
    /// [`Error::Internal`] for a kernel that does not compile, [`Error::Gpu`] if the device was lost.
    pub async fn compile<'a>(&self, kernels: impl Iterator<Item = &'a Kernel>) -> Result<()> {
        let Some(device) = self.device.as_webgpu() else { return Ok(()) };
        let unknown: Vec<&Kernel> = {
            let known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            let mut seen = HashSet::new();
            kernels.filter(|kernel| !known.contains_key(kernel) && seen.insert(*kernel)).collect()
        };
        let mut modules = HashMap::new();
        let mut begun: Vec<(&Kernel, JsFuture)> = Vec::new();
        for kernel in unknown {
            match begin(device, kernel, &mut modules) {
                Ok(promise) => begun.push((kernel, promise.into())),
                Err(e) => return Err(self.refused(kernel, &e).await),
            }
        }
        for (kernel, pipeline) in begun {
            let adopted = match pipeline.await {
                Ok(pipeline) => self.adopt(device, kernel, pipeline),
                Err(e) => Err(e),
            };
            match adopted {
                Ok(made) => made?,
                Err(e) => return Err(self.refused(kernel, &e).await),
            }
        }
        self.faults.check()
    }

    /// The error for a kernel that the browser does not compile, with the browser's message. If the cause is another
    /// fault, such as a lost device, it returns that; the browser may report the cause only afterwards.
    async fn refused(&self, kernel: &Kernel, error: &JsValue) -> Error {
        if let Err(cause) = self.finished().await {
            return cause;
        }
        let said = error.dyn_ref::<js_sys::Error>().map(|e| String::from(e.message()));
        let said = said.unwrap_or_else(|| "the browser gives no reason".to_owned());
        Error::internal(format!("the kernel does not compile: {said}"))
            .at(format!("{} {}", kernel.name, kernel.entry))
    }

    /// Registers a finished pipeline with wgpu as that of a kernel. wgpu has no call for this, and no asynchronous
    /// compilation. It calls the device's `createComputePipeline`, so this function replaces that method for one call
    /// with one that returns the finished pipeline.
    fn adopt(
        &self,
        device: &JsValue,
        kernel: &Kernel,
        pipeline: JsValue,
    ) -> std::result::Result<Result<()>, JsValue> {
        let name = JsValue::from_str("createComputePipeline");
        Reflect::set(device, &name, &Closure::once_into_js(move || pipeline))?;
        let made = self.planned_pipeline(kernel).map(|_| ());
        Reflect::delete_property(device.unchecked_ref::<Object>(), &name)?;
        Ok(made)
    }

    /// Waits until the submitted work has filled a staging buffer, and returns the first `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed, [`Error::Usage`] if another call is reading the buffer.
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, _filled: &Submission) -> Result<Vec<u8>> {
        self.faults.check()?;
        // A browser maps a buffer after all work that was submitted before.
        let mut reading = Reading::begin(staging, bytes)?;
        let mapped = called_back(|done| reading.map(bytes, done)).await;
        // A failed read has an earlier cause, which the browser may report only afterwards.
        if mapped.is_err() {
            reading.failed();
            self.finished().await?;
        }
        self.faults.check()?;
        mapped.map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        Self::mapped(staging, bytes)
    }

    /// Waits until the GPU has done all submitted work.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub async fn finished(&self) -> Result<()> {
        called_back(|done| self.queue.on_submitted_work_done(move || done(()))).await;
        self.faults.check()
    }
}
