/** What every error of Ocelli is; its `name` says which. */
export class OcelliError extends Error {}
/** This browser gives no GPU to pages, or one that computes wrong numbers. */
export class NoWebGpu extends OcelliError {}
/** The file is not there, is damaged, or holds no network that Ocelli knows. */
export class BadWeights extends OcelliError {}
/** The picture cannot be read. */
export class BadPicture extends OcelliError {}
/** The browser took the GPU away; load the network again. */
export class DeviceLost extends OcelliError {}
/** The file or its network does not fit into memory. */
export class TooLarge extends OcelliError {}

export interface Progress {
  /** What is being done: reading the file, its tensors to the GPU, or waiting for the kernels to be compiled. */
  phase: "loading" | "preparing";
  /** Bytes so far, while the file is read. */
  loaded?: number;
  /** Bytes of the whole file; 0 if nobody knows. */
  total?: number;
  /** Whether the file was kept from an earlier visit. */
  fromCache?: boolean;
}

export interface LoadOptions {
  onProgress?: (progress: Progress) => void;
  /** Gives up loading. */
  signal?: AbortSignal;
  /** The variant of the network, where the file does not say it and several fit. */
  arch?: string;
  /** Whether the browser keeps a file from a URL for the next visit; it does unless this is false. */
  cache?: boolean;
  /** The only file that is taken: `sha256-` and its hash in base64. Others are `BadWeights`. */
  integrity?: string;
  /** Whether other servers than that of the page are refused, also where its own leads to them; they are not unless this is true. */
  sameOrigin?: boolean;
}

export interface Gpu {
  name: string;
  /** Whether it computes on the processor, which is many times slower. */
  software: boolean;
  f16: boolean;
  maxBufferBytes: number;
  maxBindingBytes: number;
}

export interface Info {
  /** The variant, such as `resnet18`. */
  arch: string;
  format: string;
  fileBytes: number;
  /** SHA-256 of the file, in hexadecimal, if it was needed: for the cache, or for `integrity`. */
  sha256: string | null;
  parameters: number;
  /** Multiply-adds for one picture. */
  macs: number;
  /** Height, width and channels. */
  input: [number, number, number];
  /** Names of the classes in the order of the logits. */
  classes: string[];
  /** Whether the file names its classes; they are numbered otherwise. */
  named: boolean;
  preprocessing: string;
  /** Whether the preprocessing is the usual one of the network, for the file does not say it. */
  preprocessingAssumed: boolean;
  /** What was chosen of the file and what was left out, a sentence each. */
  notes: string[];
  gpuBytes: number;
  /** Kernel calls for one picture. */
  kernels: number;
  precision: "f32";
  software: boolean;
  gpu: Gpu;
  fromCache: boolean;
  /** Milliseconds until the file had been read and written to the GPU. */
  readMs: number;
  /**
   * Milliseconds until the kernels had been compiled, from when the network was known: from a safetensors file's
   * header on, while the rest arrives, and when an ONNX file has been read. */
  compileMs: number;
  /** Milliseconds of loading as a whole. */
  loadMs: number;
  /** Bytes of WebAssembly memory after loading, which never become fewer: those of safetensors are there tensor by tensor. */
  memoryBytes: number;
}

export interface Prediction {
  /** The number of the class, counted from 0. */
  index: number;
  label: string;
  /** Softmax probability. */
  probability: number;
}

export interface Classified {
  /** Most probable first. */
  top: Prediction[];
  logits: Float32Array;
  /** Milliseconds in which the picture was brought to the size of the input. */
  prepareMs: number;
  /** Milliseconds of the network. */
  gpuMs: number;
}

/** What one kernel computes: an operation with the batch norm, sum and ReLU that follow it. */
export interface Layer {
  /** Its place, counted from 0. */
  index: number;
  /** The name of its first operation, such as `layer1.0.conv1`. */
  name: string;
  /** The name of its last operation, such as `layer1.0.relu1`, whose result is what is seen. */
  output: string;
  /** Its operations in order, such as `conv2d`, `batch_norm`, `relu`. */
  operations: string[];
  /** Height, width and channels of the result. */
  shape: [number, number, number];
  /** Trained numbers. */
  parameters: number;
  /** Multiply-adds for one picture. */
  macs: number;
}

export interface Activations {
  index: number;
  name: string;
  output: string;
  height: number;
  width: number;
  channels: number;
  /** Row by row, pixel by pixel, channel by channel. */
  data: Float32Array;
  /** The least and the greatest number of each channel, one after the other. */
  ranges: Float32Array;
  /** The picture as the network is fed it. */
  input: ImageData;
}

export interface Filters {
  /** The convolution, such as `conv1`. */
  layer: string;
  count: number;
  height: number;
  width: number;
  channels: number;
  /** The order of the channels, if they are colours. */
  colours: "rgb" | "bgr" | "none";
  /** Filter by filter, row by row, pixel by pixel, channel by channel. */
  data: Float32Array;
}

export interface Timings {
  /** Whether the GPU's own clock was there, or each layer was awaited by itself, which adds the way to the GPU and back. */
  clock: "timestamps" | "waiting";
  runs: number;
  /** Milliseconds of each layer: the mean of the runs by the GPU's clock, their median otherwise. */
  ms: number[];
}

export interface WhyOptions {
  /** The index of the class; the most probable class without it. */
  class?: number;
  /**
   * Grad-CAM (Selvaraju et al., 2017) needs a gradient; occlusion (Zeiler and Fergus, 2014) classifies the picture again for each place of a
   * square that hides a part of it.
   */
  method?: "grad-cam" | "occlusion";
  /** Of Grad-CAM: the layer, by its index, name, output, or a part that no other name has; the last map without it. */
  layer?: number | string;
  /** Of occlusion: the side of the square in pixels of the input; a quarter of its shorter side without it. */
  square?: number;
  /** Of occlusion: pixels from one place of the square to the next; a quarter of the square without it. */
  stride?: number;
  /** Of occlusion: hears how many places are done. */
  onProgress?: (progress: { done: number; total: number }) => void;
  /** Gives up; occlusion ends after the batch of places that is being computed. */
  signal?: AbortSignal;
}

/** Why the network takes the picture for the class of `index`, `label` and `probability`. */
export interface Why extends Prediction {
  method: "grad-cam" | "occlusion";
  /**
   * A number from 0 to 1 for each pixel of `input`, row by row. Grad-CAM: how much the layer speaks for the class there. Occlusion: how much
   * of the probability is lost when the pixel is hidden. Both as a share of the greatest; all 0 if there is nothing.
   */
  heat: Float32Array;
  /** What the heat is made of: the map of the layer, or the probability for each place of the square. */
  map: { height: number; width: number; data: Float32Array };
  /** The picture as the network is fed it. */
  input: ImageData;
  /** Of Grad-CAM: the name of the layer. */
  layer?: string;
  /** Of occlusion: the side of the square in pixels. */
  square?: number;
  /** Of occlusion: the first row of the square for each row of `map`. */
  rows?: number[];
  /** Of occlusion: the first column of the square for each column of `map`. */
  columns?: number[];
}

/** The greatest activation of a channel, passed back to the pixels (Zeiler and Fergus, 2014). */
export interface Deconvnet {
  /** The name of the layer. A ReLU is taken before the max pooling that shares its kernel, as in the paper. */
  layer: string;
  /** The channel. */
  unit: number;
  /** Row and column of its greatest activation. */
  place: [number, number];
  /** Height and width of its map. */
  size: [number, number];
  /** Its greatest activation. */
  activation: number;
  /** What the activation depends on, in pixels of `input`: first row, first column, height, width. */
  field: [number, number, number, number];
  /** Red, green and blue for each pixel of `input`, around 0; null if the greatest activation is 0 or less. */
  image: Float32Array | null;
  /** The picture as the network is fed it. */
  input: ImageData;
}

export type Picture =
  | ImageData
  | ImageBitmap
  | Blob
  | HTMLImageElement
  | HTMLVideoElement
  | HTMLCanvasElement
  | OffscreenCanvas;

/** A network with trained weights on the visitor's GPU. */
export class Classifier {
  private constructor();
  /** Loads a network from a URL or a file: safetensors, whose tensors go to the GPU while they arrive, or ONNX. */
  static load(source: string | URL | Blob, options?: LoadOptions): Promise<Classifier>;
  /** Forgets all files that the browser keeps; true if there were some. */
  static clearCache(): Promise<boolean>;
  readonly info: Info;
  /** Classifies a picture of any size. */
  classify(picture: Picture, options?: { top?: number; signal?: AbortSignal }): Promise<Classified>;
  /** The layers in the order of their computation. */
  layers(): Promise<Layer[]>;
  /**
   * What a layer, by its index, name or output, makes of a picture. The first look takes memory for all layers and throws `TooLarge` if
   * there is not enough, then and whenever it is asked again; the network can be used as before. The same File or Blob again is not
   * computed again.
   */
  activations(picture: Picture, layer: number | string, options?: { signal?: AbortSignal }): Promise<Activations>;
  /** The filters of the first convolution; null of a network that has none. */
  filters(): Promise<Filters | null>;
  /** How long each layer takes, over at most so many runs (5) after a first one, and some two seconds. */
  timings(options?: { runs?: number; signal?: AbortSignal }): Promise<Timings>;
  /**
   * Why the network takes a picture for a class. The first question takes memory, and throws `TooLarge` if there is not enough, then and
   * whenever it is asked again; the network can be used as before.
   */
  why(picture: Picture, options?: WhyOptions): Promise<Why>;
  /**
   * What made a channel of a layer fire for a picture. The layer is given by its index, name, output, or a part that no other name has.
   * Memory as for `why`.
   */
  deconvnet(picture: Picture, layer: number | string, unit: number, options?: { signal?: AbortSignal }): Promise<Deconvnet>;
  /** Ends the worker; its memory and that of the GPU are free. */
  free(): void;
}
