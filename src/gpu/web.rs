//! Compiling and reading back in a browser, where nothing may block: the page goes on meanwhile.

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

/// What a callback and the one who waits for it share.
struct Shared<T> {
    done: Option<T>,
    waiting: Option<Waker>,
}

/// Begins to compile a kernel. `modules` are those of the texts until now.
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

/// Calls a method of an object.
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

/// What the callback that is handed to `begin` is called with.
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
    /// Compiles kernels side by side, beside all else that the GPU's process has to do; [`Gpu::pipeline`] finds them afterwards.
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

    /// That the browser does not compile a kernel, and what it says of it; or the cause, such as a lost device, though that may be told
    /// after it.
    async fn refused(&self, kernel: &Kernel, error: &JsValue) -> Error {
        if let Err(cause) = self.finished().await {
            return cause;
        }
        let said = error.dyn_ref::<js_sys::Error>().map(|e| String::from(e.message()));
        let said = said.unwrap_or_else(|| "the browser gives no reason".to_owned());
        Error::internal(format!("the kernel does not compile: {said}"))
            .at(format!("{} {}", kernel.name, kernel.entry))
    }

    /// Makes wgpu take a finished pipeline for that of a kernel. It has no call for that, and none to make one behind the scenes
    /// either; what it does call is the device's `createComputePipeline`, which for this once gives the finished one.
    fn adopt(
        &self,
        device: &JsValue,
        kernel: &Kernel,
        pipeline: JsValue,
    ) -> std::result::Result<Result<()>, JsValue> {
        let name = JsValue::from_str("createComputePipeline");
        Reflect::set(device, &name, &Closure::once_into_js(move || pipeline))?;
        let made = self.pipeline(kernel).map(|_| ());
        Reflect::delete_property(device.unchecked_ref::<Object>(), &name)?;
        Ok(made)
    }

    /// Waits for what was submitted to fill a staging buffer, and returns its first `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way, [`Error::Usage`] if another call reads it.
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, _filled: &Submission) -> Result<Vec<u8>> {
        self.faults.check()?;
        // A browser maps a buffer after all that was submitted before.
        let mut reading = Reading::begin(staging, bytes)?;
        let mapped = called_back(|done| reading.map(bytes, done)).await;
        // The cause of a failed read is what went wrong before it, though that may be told after it.
        if mapped.is_err() {
            reading.failed();
            self.finished().await?;
        }
        self.faults.check()?;
        mapped.map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        Self::mapped(staging, bytes)
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn finished(&self) -> Result<()> {
        called_back(|done| self.queue.on_submitted_work_done(move || done(()))).await;
        self.faults.check()
    }
}
