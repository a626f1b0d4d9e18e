// The networks in TensorFlow.js, which does not read ONNX: from our safetensors, with batch norm folded into the convolutions and
// ReLU in their kernels, as its own converter would have it.

/** The tensors of a safetensors file in f32: { shape, data }. */
async function read(url) {
  const file = await (await fetch(url)).arrayBuffer();
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  const tensors = {};
  delete header.__metadata__;
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (dtype === "F32") tensors[name] = { shape, data: new Float32Array(file.slice(8 + length + from, 8 + length + to)) };
  }
  return tensors;
}

/** What the networks are made of: activations are NHWC. */
class Layers {
  constructor(tf, tensors) {
    this.tf = tf;
    this.tensors = tensors;
    this.kept = new Map();
  }

  /** Filters as RSCK with a bias, a norm folded in; made once. */
  filters(conv, norm, epsilon) {
    const known = this.kept.get(conv);
    if (known) return known;
    const { shape: [k, c, r, s], data } = this.tensors[`${conv}.weight`];
    const bias = new Float32Array(this.tensors[`${conv}.bias`]?.data ?? k);
    const filters = new Float32Array(data.length);
    const of = (name) => this.tensors[`${norm}.${name}`].data;
    for (let i = 0; i < k; i++) {
      let scale = 1;
      if (norm) {
        scale = of("weight")[i] / Math.sqrt(of("running_var")[i] + epsilon);
        bias[i] = of("bias")[i] + (bias[i] - of("running_mean")[i]) * scale;
      }
      for (let j = 0; j < c; j++) {
        for (let t = 0; t < r * s; t++) filters[(t * c + j) * k + i] = data[(i * c + j) * r * s + t] * scale;
      }
    }
    const made = { filter: this.tf.keep(this.tf.tensor4d(filters, [r, s, c, k])), bias: this.tf.keep(this.tf.tensor1d(bias)) };
    this.kept.set(conv, made);
    return made;
  }

  conv(x, conv, { norm, epsilon = 1e-5, strides = 1, pad = 0, activation = "relu" } = {}) {
    const weights = this.filters(conv, norm, epsilon);
    return this.tf.fused.conv2d({ x, ...weights, strides, pad, dimRoundingMode: "floor", activation });
  }

  linear(x, name, activation = "linear") {
    if (!this.kept.has(name)) {
      const { shape, data } = this.tensors[`${name}.weight`];
      const b = this.tf.keep(this.tf.tensor2d(data, shape));
      this.kept.set(name, { b, bias: this.tf.keep(this.tf.tensor1d(this.tensors[`${name}.bias`].data)) });
    }
    return this.tf.fused.matMul({ a: x, ...this.kept.get(name), transposeB: true, activation });
  }

  /** Rows of numbers in PyTorch's order. */
  flat(x) {
    return this.tf.reshape(this.tf.transpose(x, [0, 3, 1, 2]), [x.shape[0], -1]);
  }

  mean(x) {
    return this.tf.mean(x, [1, 2]);
  }
}

function resnet18(net) {
  const { tf } = net;
  const block = (x, name, strides) => {
    const y = net.conv(x, `${name}.conv1`, { norm: `${name}.bn1`, strides, pad: 1 });
    const z = net.conv(y, `${name}.conv2`, { norm: `${name}.bn2`, pad: 1, activation: "linear" });
    const down = `${name}.downsample`;
    const shortcut = net.tensors[`${down}.0.weight`]
      ? net.conv(x, `${down}.0`, { norm: `${down}.1`, strides, activation: "linear" })
      : x;
    return tf.relu(tf.add(z, shortcut));
  };
  return (x) => {
    x = net.conv(x, "conv1", { norm: "bn1", strides: 2, pad: 3 });
    x = tf.maxPool(x, 3, 2, 1, "floor");
    for (const stage of [1, 2, 3, 4]) {
      x = block(x, `layer${stage}.0`, stage === 1 ? 1 : 2);
      x = block(x, `layer${stage}.1`, 1);
    }
    return net.linear(net.mean(x), "fc");
  };
}

function alexnet(net) {
  const { tf } = net;
  return (x) => {
    x = tf.maxPool(net.conv(x, "features.0", { strides: 4, pad: 2 }), 3, 2, 0, "floor");
    x = tf.maxPool(net.conv(x, "features.3", { pad: 2 }), 3, 2, 0, "floor");
    for (const layer of [6, 8, 10]) x = net.conv(x, `features.${layer}`, { pad: 1 });
    x = net.flat(tf.maxPool(x, 3, 2, 0, "floor"));
    return net.linear(net.linear(net.linear(x, "classifier.1", "relu"), "classifier.4", "relu"), "classifier.6");
  };
}

function googlenet(net) {
  const { tf } = net;
  const conv = (x, name, options) => net.conv(x, `${name}.conv`, { norm: `${name}.bn`, epsilon: 1e-3, ...options });
  const inception = (x, name) =>
    tf.concat(
      [
        conv(x, `${name}.branch1`),
        conv(conv(x, `${name}.branch2.0`), `${name}.branch2.1`, { pad: 1 }),
        conv(conv(x, `${name}.branch3.0`), `${name}.branch3.1`, { pad: 1 }),
        conv(tf.maxPool(x, 3, 1, 1, "floor"), `${name}.branch4.1`),
      ],
      3,
    );
  return (x) => {
    x = tf.maxPool(conv(x, "conv1", { strides: 2, pad: 3 }), 3, 2, "same");
    x = tf.maxPool(conv(conv(x, "conv2"), "conv3", { pad: 1 }), 3, 2, "same");
    for (const name of ["inception3a", "inception3b"]) x = inception(x, name);
    x = tf.maxPool(x, 3, 2, "same");
    for (const name of ["inception4a", "inception4b", "inception4c", "inception4d", "inception4e"]) x = inception(x, name);
    x = tf.maxPool(x, 2, 2, "same");
    for (const name of ["inception5a", "inception5b"]) x = inception(x, name);
    return net.linear(net.mean(x), "fc");
  };
}

const NETWORKS = { resnet18, "alexnet-tv": alexnet, "googlenet-tv": googlenet };

/** A function from NHWC pixels to logits. */
export async function build(tf, name, url) {
  return NETWORKS[name](new Layers(tf, await read(url)));
}
