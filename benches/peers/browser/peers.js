// Ours and two others, each as its users would: loaded with a network, then asked for the logits of a picture.
import { build } from "./tfjs.js";

/** A picture as pixels and as the numbers that its network gets, with ImageNet's mean and deviation. */
function picture(size) {
  const [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
  const rgba = new Uint8ClampedArray(4 * size * size).fill(255);
  const nhwc = new Float32Array(3 * size * size);
  const nchw = new Float32Array(3 * size * size);
  for (let i = 0; i < size * size; i++) {
    const [y, x] = [Math.floor(i / size), i % size];
    for (let c = 0; c < 3; c++) {
      const wave = Math.sin((x * (c + 1)) / 17) + Math.cos(y / (11 + c));
      rgba[4 * i + c] = 127.5 + 60 * wave;
      nhwc[3 * i + c] = nchw[c * size * size + i] = (rgba[4 * i + c] / 255 - mean[c]) / std[c];
    }
  }
  return { pixels: new ImageData(rgba, size, size), nhwc, nchw };
}

/** Each gives, for a network, a function from a picture to its logits. The library itself is there before the clock starts. */
const LIBRARIES = {
  ocelli: () => ocelli("safetensors"),
  "ocelli-onnx": () => ocelli("onnx"),
  async onnxruntime() {
    const ort = await import("/node_modules/onnxruntime-web/dist/ort.webgpu.min.mjs");
    ort.env.wasm.wasmPaths = "/node_modules/onnxruntime-web/dist/";
    return async (name, size) => {
      const session = await ort.InferenceSession.create(`/weights/${name}.onnx`, { executionProviders: ["webgpu"] });
      const classify = async ({ nchw }) => {
        const { logits } = await session.run({ input: new ort.Tensor("float32", nchw, [1, 3, size, size]) });
        return logits.getData();
      };
      return { classify };
    };
  },
  async tfjs() {
    for (const part of ["core/dist/tf-core", "backend-webgpu/dist/tf-backend-webgpu"]) await script(`tfjs-${part}.min.js`);
    return async (name, size) => {
      await tf.setBackend("webgpu");
      await tf.ready();
      const forward = await build(tf, name, `/weights/${name}.safetensors`);
      const classify = async ({ nhwc }) => {
        const logits = tf.tidy(() => forward(tf.tensor4d(nhwc, [1, size, size, 3])));
        const values = await logits.data();
        logits.dispose();
        return values;
      };
      return { classify };
    };
  },
};

async function ocelli(format) {
  const { Classifier } = await import("/ours/ocelli.js");
  return async (name) => {
    const net = await Classifier.load(`/weights/${name}.${format}`, { cache: false });
    return { classify: async ({ pixels }) => (await net.classify(pixels)).logits, adapter: net.info.gpu.name };
  };
}

function script(name) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = `/node_modules/@tensorflow/${name}`;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${name} cannot be loaded`));
    document.head.append(element);
  });
}

let ready = null;

/** Milliseconds to the first result from nothing but the library, and the result. */
export async function first(library, name, size) {
  const input = picture(size);
  const load = await LIBRARIES[library]();
  const start = performance.now();
  const { classify, adapter } = await load(name, size);
  const logits = [...(await classify(input))];
  ready = () => classify(input);
  return { first: performance.now() - start, logits, adapter };
}

/** Milliseconds of each of so many results more. */
export async function later(runs) {
  const times = [];
  for (let i = 0; i < runs; i++) {
    const before = performance.now();
    await ready();
    times.push(performance.now() - before);
  }
  return times;
}
