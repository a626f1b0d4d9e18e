// The page as `ocelli serve` serves it, in a real browser: the list of networks, and nothing of it on another server.
//
//   node served.mjs OCELLI DIST NETWORKS    the program, the built page, a folder with networks
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { open } from "./browser.mjs";
import { serve } from "./server.mjs";

const [ocelli, dist = "../dist", made = "../../target/browser"] = process.argv.slice(2);
const networks = mkdtempSync(join(tmpdir(), "ocelli-"));
const ODD = "ö 100% a&b=c+d #1;e'f.safetensors";
for (const [from, to] of [["resnet20", ODD], ["zfnet", "zfnet.safetensors"], ["preresnet110", "deep.safetensors"]]) {
  copyFileSync(join(made, `${from}.safetensors`), join(networks, to));
}
const names = readdirSync(networks).filter((name) => /\.(safetensors|onnx)$/.test(name)).sort();

const arguments_ = ["serve", "--page", dist, "--weights", networks, "--port", "0", "--quiet"];
const program = spawn(ocelli, arguments_, { stdio: ["ignore", "pipe", "inherit"] });
const other = await serve([["/", dist]]);
const browser = await open();
try {
  const lines = [];
  for await (const line of createInterface(program.stdout)) if (lines.push(line) > names.length) break;
  const [address, ...links] = lines;

  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  const faults = [];
  const asked = [];
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => asked.push(request.url()));
  const shown = page.locator("#served a");

  await page.goto(address);
  await shown.first().waitFor();
  assert.deepEqual(await shown.allTextContents(), names);
  assert.deepEqual(await shown.evaluateAll((all) => all.map((link) => link.href.replaceAll("%2F", "/"))), links);
  assert.equal(await page.locator("#served [aria-current]").count(), 0);
  // The page and its network, with the types and headers of this server.
  await page.getByText("Made with Ocelli").waitFor();
  const info = await page.evaluate(async (url) => {
    const { Classifier } = await import("./ocelli.js");
    const [first, second] = [await Classifier.load(url), await Classifier.load(url)];
    first.free();
    second.free();
    return [first.info.fileBytes, first.info.fromCache, second.info.fromCache];
  }, `weights/${encodeURIComponent(names.at(-1))}`);
  assert.ok(info[0] > 1000);
  assert.deepEqual(info.slice(1), [false, true], "the second time the file is kept, for its tag is the same");

  for (const [i, name] of names.entries()) {
    await shown.filter({ hasText: name }).click();
    await page.locator("#served [aria-current]", { hasText: name }).waitFor();
    assert.equal(page.url().replaceAll("%2F", "/"), links[i].replaceAll("%2F", "/"));
    const arch = { [ODD]: "resnet20", "deep.safetensors": "preresnet110" }[name] ?? "zfnet";
    // While it is loaded the name is that of the file, and nothing is said of it.
    await page.locator("#network-about", { hasText: name }).waitFor();
    assert.equal(await page.locator("#network-name").textContent(), arch);
    assert.equal(await page.locator("#error").isVisible(), false);
  }

  asked.length = 0;
  await page.goto(other.origin);
  await page.getByText("Made with Ocelli").waitFor();
  assert.equal(await page.locator("#served").isVisible(), false);
  assert.deepEqual(asked.filter((url) => url.includes("/weights")), []);
  assert.deepEqual(faults, []);
  console.log(`ok       ocelli serve: ${names.length} networks are offered, and only there`);
} finally {
  await browser.close();
  other.close();
  program.kill("SIGINT");
  rmSync(networks, { recursive: true });
}
const [code] = await new Promise((resolve) => program.once("exit", (...how) => resolve(how)));
assert.equal(code, 0, "Ctrl-C ends the server well");
