/** What every error of Ocelli is; its `name` says which. */
export class OcelliError extends Error {}
/** This browser gives no GPU to pages. */
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
  /** What is being done: reading the file, or making the network of it. */
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
  /** SHA-256 of the file, in hexadecimal. */
  sha256: string;
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
  gpuBytes: number;
  /** Kernel calls for one picture. */
  kernels: number;
  precision: "f32";
  software: boolean;
  gpu: Gpu;
  fromCache: boolean;
  /** Milliseconds until the file had been read and written to the GPU. */
  readMs: number;
  /** Milliseconds of the first picture, kernels compiled; that happens while the weights arrive. */
  firstRunMs: number;
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
  /** Ends the worker; its memory and that of the GPU are free. */
  free(): void;
}
