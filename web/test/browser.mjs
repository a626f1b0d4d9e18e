// A Chromium with WebGPU on the processor, so that every machine can run the test.
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);

const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A camera that is no camera, and a visitor who allows everything. */
export const CAMERA = "--use-fake-device-for-media-stream";
export const ALLOWED = "--use-fake-ui-for-media-stream";

/** Opens Chromium, with or without WebGPU, with more flags. */
export function open({ webgpu = true, flags = [] } = {}) {
  const gpu = webgpu
    ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    : ["--disable-gpu", "--disable-features=WebGPU,WebGPUService", "--disable-blink-features=WebGPU"];
  return chromium.launch({ executablePath, args: [...FLAGS, ...gpu, ...flags] });
}
