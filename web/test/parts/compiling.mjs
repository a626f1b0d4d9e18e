// How kernels come to be compiled: side by side, each once, and what happens if that fails.
import assert from "node:assert/strict";

/** Appended to the worker: counts how pipelines are asked for, and answers when asked; `more` runs with the device's prototype. */
const counting = (more = "") => `
  const asked = { oneByOne: 0, sideBySide: 0, devices: [] };
  const { createComputePipeline, createComputePipelineAsync } = GPUDevice.prototype;
  GPUDevice.prototype.createComputePipeline = function (...given) {
    asked.oneByOne++;
    return createComputePipeline.apply(this, given);
  };
  GPUDevice.prototype.createComputePipelineAsync = function (...given) {
    asked.sideBySide++;
    if (!asked.devices.includes(this)) asked.devices.push(this);
    return createComputePipelineAsync.apply(this, given);
  };
  const channel = new BroadcastChannel("asked");
  channel.onmessage = () =>
    channel.postMessage({ ...asked, devices: 0, left: asked.devices.filter((device) => Object.hasOwn(device, "createComputePipeline")).length });
  ${more}`;

async function instrument(page, text) {
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()) + text });
  });
}

/** Loads a network and classifies with it; what the worker has counted afterwards, or the error. */
const use = (page, file) =>
  page.evaluate(async (file) => {
    const { Classifier } = await import("./ocelli.js");
    try {
      const net = await Classifier.load(file, { cache: false });
      const picture = new ImageData(32, 32);
      const first = await net.classify(picture);
      const { data } = await net.activations(picture, 0);
      const channel = new BroadcastChannel("asked");
      const counted = new Promise((resolve) => (channel.onmessage = ({ data }) => resolve(data)));
      channel.postMessage("");
      const asked = await counted;
      net.free();
      return { ...asked, logits: [...first.logits], activations: data.length };
    } catch ({ name, message }) {
      return { error: `${name}: ${message}` };
    }
  }, file);

export async function compiling({ part }) {
  await part("kernels are compiled side by side, each once", async (page) => {
    await instrument(page, counting());
    for (const file of ["weights/resnet20.safetensors", "weights/googlenet-tv.onnx"]) {
      const { sideBySide, oneByOne, left, logits, activations, error } = await use(page, file);
      assert.equal(error, undefined);
      assert.ok(sideBySide > 5 && logits.length > 1 && activations > 0, `${file}: ${sideBySide} kernels`);
      assert.deepEqual([oneByOne, left], [0, 0], `${file}: asked for one by one, left on the device`);
    }
  });

  await part("a kernel that the browser refuses is an error, not a hang", async (page) => {
    const refusing = `
      let begun = 0;
      GPUDevice.prototype.createComputePipelineAsync = async function (...given) {
        if (begun++ === 3) throw new DOMException("no registers left", "OperationError");
        return createComputePipelineAsync.apply(this, given);
      };`;
    await instrument(page, counting(refusing));
    const { error } = await use(page, "weights/resnet20.safetensors");
    assert.match(error, /^OcelliError: .*the kernel does not compile: no registers left/);
  });

  await part("a GPU that is taken away while kernels are compiled is a lost one", async (page) => {
    const losing = `
      let begun = 0;
      GPUDevice.prototype.createComputePipelineAsync = async function (...given) {
        if (begun++ === 3) {
          await new Promise((resolve) => setTimeout(resolve, 500));
          this.destroy();
          throw new DOMException("the device was lost", "OperationError");
        }
        return createComputePipelineAsync.apply(this, given);
      };`;
    await instrument(page, counting(losing));
    const { error } = await use(page, "weights/resnet20.safetensors");
    assert.match(error, /^DeviceLost: /);
  });

  await part("a browser whose streams have no memory to share reads as well", async (page) => {
    const without = `
      const { getReader } = ReadableStream.prototype;
      ReadableStream.prototype.getReader = function (options) {
        if (options?.mode) throw new TypeError("no such mode");
        return getReader.call(this);
      };`;
    await instrument(page, counting());
    const usual = await use(page, "weights/resnet20.safetensors");
    await page.unroute("**/worker.js");
    await instrument(page, counting(without));
    const { logits, error } = await use(page, "weights/resnet20.safetensors");
    assert.equal(error, undefined);
    assert.deepEqual(logits, usual.logits);
  });
}
