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

/** Opens Chromium, with or without WebGPU. */
export function open({ webgpu = true } = {}) {
  const gpu = webgpu
    ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    : ["--disable-gpu", "--disable-features=WebGPU,WebGPUService", "--disable-blink-features=WebGPU"];
  return chromium.launch({ executablePath, args: [...FLAGS, ...gpu] });
}
