// Loading: the stream, the cache with its hash, the only file that is wanted, addresses, and files that are none.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serve } from "../server.mjs";

/** The names and shapes of ResNet-18 with so many channels in its pictures. */
function resnet18(channels = 3) {
  const tensors = [["conv1.weight", [64, channels, 7, 7]]];
  const norm = (name, c) => {
    for (const part of ["weight", "bias", "running_mean", "running_var"]) tensors.push([`${name}.${part}`, [c]]);
  };
  norm("bn1", 64);
  let before = 64;
  [64, 128, 256, 512].forEach((c, stage) => {
    for (const block of [0, 1]) {
      const name = `layer${stage + 1}.${block}`;
      tensors.push([`${name}.conv1.weight`, [c, before, 3, 3]], [`${name}.conv2.weight`, [c, c, 3, 3]]);
      norm(`${name}.bn1`, c);
      norm(`${name}.bn2`, c);
      if (before !== c) {
        tensors.push([`${name}.downsample.0.weight`, [c, before, 1, 1]]);
        norm(`${name}.downsample.1`, c);
      }
      before = c;
    }
  });
  return [...tensors, ["fc.weight", [10, 512]], ["fc.bias", [10]]];
}

/** A safetensors file of these tensors, all numbers 0. */
function safetensors(tensors, dtype, bytes) {
  const header = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const start = end;
    end += bytes * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(end)]);
}

/** Loads and classifies in the page: what is known, or the error. */
function load(page, source, options = {}) {
  return page.evaluate(
    async ({ source, options }) => {
      const { Classifier } = await import("./ocelli.js");
      try {
        const net = await Classifier.load(source, options);
        const { logits } = await net.classify(new ImageData(new Uint8ClampedArray(4 * 64).fill(99), 8, 8));
        net.free();
        const { classes, ...info } = net.info;
        return { ...info, logits: [...logits] };
      } catch (error) {
        return { error: `${error.name}: ${error.message}` };
      }
    },
    { source, options },
  );
}

const sha256 = (bytes, form) => createHash("sha256").update(bytes).digest(form);

/** A copy of a safetensors file without its checksums, which every change of it would break. */
function unsummed(file) {
  const end = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, end).toString());
  delete header.__metadata__["ocelli.crc32.tensors"];
  delete header.__metadata__["ocelli.crc32.header"];
  let text = Buffer.from(JSON.stringify(header));
  text = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, file.subarray(end)]);
}

export async function loading({ part, pagePart, made, networks, ready, answer }) {
  const resnet20 = readFileSync(join(networks, "resnet20.safetensors"));
  const put = (name, bytes) => writeFileSync(join(made, name), bytes);

  await part("a kept file is checked against its hash, and replaced by a newer one", async (page) => {
    put("net.safetensors", resnet20);
    const first = await load(page, "made/net.safetensors");
    assert.deepEqual([first.fromCache, first.sha256], [false, sha256(resnet20, "hex")]);
    const second = await load(page, "made/net.safetensors");
    assert.deepEqual([second.fromCache, second.sha256, second.logits], [true, first.sha256, first.logits]);

    const damage = () =>
      page.evaluate(async () => {
        const cache = await caches.open("ocelli-weights");
        const url = new URL("made/net.safetensors", location.href).href;
        const bytes = new Uint8Array(await (await cache.match(url)).arrayBuffer());
        bytes[bytes.length - 5] ^= 1;
        await cache.put(url, new Response(bytes));
      });
    await damage();
    const mended = await load(page, "made/net.safetensors");
    assert.deepEqual([mended.fromCache, mended.sha256, mended.logits], [false, first.sha256, first.logits]);
    assert.equal((await load(page, "made/net.safetensors")).fromCache, true);

    // Another file, which must not have the checksums of the first one.
    const newer = Buffer.from(resnet20.toString("latin1").replaceAll("ocelli.crc32.", "Ocelli.crc32."), "latin1");
    newer[newer.length - 1] ^= 0x80;
    put("net.safetensors", newer);
    const other = await load(page, "made/net.safetensors");
    assert.deepEqual([other.fromCache, other.sha256], [false, sha256(newer, "hex")]);
    const entries = () => page.evaluate(async () => (await (await caches.open("ocelli-weights")).keys()).length);
    assert.equal(await entries(), 2, "the file and its record");

    // One that breaks off leaves the one before, which counts again when there is no other.
    const newest = Buffer.from(newer);
    newest[newest.length - 2] ^= 1;
    put("net.safetensors", newest);
    put("net.safetensors.cut", "");
    assert.match((await load(page, "made/net.safetensors")).error, /^BadWeights: the file broke off/);
    rmSync(join(made, "net.safetensors.cut"));

    // Without its server a kept file is as good as before, and a damaged one is none.
    rmSync(join(made, "net.safetensors"));
    const before = await load(page, "made/net.safetensors");
    assert.deepEqual([before.fromCache, before.sha256], [true, other.sha256]);
    await damage();
    assert.match((await load(page, "made/net.safetensors")).error, /^BadWeights: .*404/);
    assert.equal(await entries(), 0);

    const cleared = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      return [await Classifier.clearCache(), await Classifier.clearCache()];
    });
    assert.deepEqual(cleared, [true, false]);
  });

  await part("integrity refuses every other file", async (page) => {
    const right = `sha256-${sha256(resnet20, "base64")}`;
    const wrong = `sha256-${sha256("something else", "base64")}`;
    const refused = await load(page, "weights/resnet20.safetensors", { integrity: wrong });
    assert.match(refused.error, /^BadWeights: this is another file .* SHA-256 is [0-9a-f]{64}$/);
    assert.equal((await load(page, "weights/resnet20.safetensors", { integrity: right })).fromCache, false);
    assert.equal((await load(page, "weights/resnet20.safetensors", { integrity: right })).fromCache, true);
    assert.match((await load(page, "weights/resnet20.safetensors", { integrity: wrong })).error, /^BadWeights: this is another/);
    assert.equal((await load(page, "weights/resnet20.safetensors")).fromCache, true, "a wrong question loses nothing");
    assert.match((await load(page, "weights/resnet20.safetensors", { integrity: "md5-1" })).error, /^TypeError/);
  });

  await part("a stream of unknown length is the same; one that stops or is stopped is not kept", async (page) => {
    const whole = await load(page, "weights/resnet20.safetensors", { cache: false });
    const slow = await load(page, "weights/resnet20.safetensors?slow");
    assert.deepEqual([slow.logits, slow.fileBytes], [whole.logits, resnet20.length]);
    // A hash that nobody asked for is not computed.
    assert.deepEqual([slow.sha256, whole.sha256], [sha256(resnet20, "hex"), null]);
    assert.equal((await load(page, "weights/resnet20.safetensors?slow")).fromCache, true);
    const cut = await load(page, "weights/resnet20.safetensors?cut");
    assert.equal(cut.error, "BadWeights: the file broke off while it was read");
    const keys = () => page.evaluate(async () => (await (await caches.open("ocelli-weights")).keys()).map(({ url }) => url));
    assert.deepEqual((await keys()).filter((url) => /[?&]cut/.test(url)), []);
    // The second half never comes, so that the stop is in the middle on a busy machine too.
    put("stopped.safetensors", resnet20);
    put("stopped.safetensors.held", "");
    const stopped = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      const stop = new AbortController();
      let most = 0;
      const onProgress = ({ loaded }) => {
        most = Math.max(most, loaded ?? 0);
        if (loaded > 0) stop.abort();
      };
      const source = "made/stopped.safetensors?slow";
      const name = await Classifier.load(source, { signal: stop.signal, onProgress }).catch((error) => error.name);
      return { name, most };
    });
    assert.equal(stopped.name, "AbortError");
    assert.ok(stopped.most > 0 && stopped.most < resnet20.length, `${stopped.most} bytes`);
    rmSync(join(made, "stopped.safetensors.held"));
    assert.equal((await load(page, "made/stopped.safetensors?slow")).fromCache, false);
  });

  await part("the newest file comes through, whatever the server says of it", async (page) => {
    const versions = [0, 1, 2, 3].map((i) => {
      const bytes = unsummed(resnet20);
      bytes[bytes.length - 2] ^= i;
      return bytes;
    });
    const newest = async (query, options) => {
      const got = await load(page, `made/other.safetensors?${query}`, options);
      return [got.fromCache, versions.findIndex((bytes) => sha256(bytes, "hex") === got.sha256)];
    };
    put("other.safetensors", versions[0]);
    // Into the browser's own cache.
    const integrity = `sha256-${sha256(versions[0], "base64")}`;
    assert.deepEqual(await newest("aged", { cache: false, integrity }), [false, 0]);
    put("other.safetensors", versions[1]);
    assert.deepEqual(await newest("aged"), [false, 1]);
    assert.deepEqual(await newest("aged"), [true, 1]);
    assert.deepEqual(await newest("nohead"), [false, 1]);
    put("other.safetensors", versions[2]);
    assert.deepEqual(await newest("nohead"), [false, 2]);
    // Two queries that mean the same to those who parse them are two files.
    for (const query of ["a=%20b&c", "a=+b&c"]) {
      assert.deepEqual([await newest(query), await newest(query)], [[false, 2], [true, 2]], query);
    }
    rmSync(join(made, "other.safetensors"));
  });

  await part("a file that is too large for the memory of a page says so", async (page) => {
    const { error } = await load(page, "weights/resnet20.safetensors?long=5000000000", { cache: false });
    assert.equal(error, "TooLarge: a file of 4768 MiB does not fit into the memory of this page");
  });

  await part("tensors are in memory one by one", async (page) => {
    const file = safetensors(resnet18(), "F64", 8);
    put("resnet18.safetensors", file);
    const { arch, fileBytes, memoryBytes } = await load(page, "made/resnet18.safetensors", { cache: false });
    rmSync(join(made, "resnet18.safetensors"));
    console.log(`         ${(memoryBytes / 1e6).toFixed(0)} MB of memory for a file of ${(fileBytes / 1e6).toFixed(0)} MB`);
    assert.deepEqual([arch, fileBytes], ["resnet18", file.length]);
    assert.ok(memoryBytes < 0.75 * fileBytes, `${memoryBytes} bytes of memory for ${fileBytes}`);
  });

  await part("files that are no weights are told apart", async (page) => {
    const nan = unsummed(resnet20);
    nan.writeUInt16LE(0x7e00, nan.length - 2);
    for (const [name, bytes, says] of [
      ["empty", "", /this file is empty; get it again/],
      ["page", "<!DOCTYPE html><html><body>Not found</body></html>", /this is a web page, not weights/],
      ["pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", /git-lfs.*git lfs pull/],
      ["model.pth", "PK\x03\x04 and so on", /a file of PyTorch.*`ocelli convert`/],
      ["text", "hello", /these are no weights; give a safetensors or ONNX file/],
      ["cut", resnet20.subarray(0, 100), /it speaks of a header of/],
      ["short", resnet20.subarray(0, resnet20.length - 1), /and its header speaks of/],
      ["nan", nan, /NaN or infinity in /],
      ["stranger", safetensors([["a.weight", [3, 3]]], "F32", 4), /none of the networks|nearest/],
      ["grey", safetensors(resnet18(1), "F16", 2), /conv1\.weight/],
    ]) {
      put(name, bytes);
      const { error } = await load(page, `made/${name}`);
      assert.match(error ?? "no error", says, name);
      assert.match(error, /^BadWeights: /, name);
      console.log(`         ${name}: ${error.slice(0, 200)}`);
    }
    const kept = await page.evaluate(async () => (await (await caches.open("ocelli-weights")).keys()).length);
    assert.equal(kept, 0, "nothing of them is kept");
  });

  await part("a network that is too large for the GPU says by how much", async (page) => {
    await page.route("**/worker.js", async (route) => {
      const response = await route.fetch();
      const small = `
        for (const name of ["maxBufferSize", "maxStorageBufferBindingSize"]) {
          Object.defineProperty(GPUSupportedLimits.prototype, name, { get: () => 16384 });
        }
      `;
      await route.fulfill({ response, body: (await response.text()) + small });
    });
    await page.reload();
    const { error } = await load(page, "weights/vgg11.safetensors", { cache: false });
    console.log(`         ${error}`);
    assert.match(error, /^TooLarge: .*\d+ MiB.*; choose a smaller network/);
  });

  await pagePart("the page: networks by their address", async (page) => {
    await ready(page);
    await page.getByRole("button", { name: "coat", exact: true }).click();
    const field = page.getByLabel("Or from an address of this server");
    await field.fill("https://example.org/net.onnx");
    await field.press("Enter");
    await page.getByRole("alert").filter({ hasText: "download the file there and drop it" }).waitFor();
    await field.fill("weights/resnet20.safetensors");
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.locator("#network-name", { hasText: "resnet20" }).waitFor();
    await answer(page, /kind \d/);
    await page.goto(new URL("?weights=weights/resnet20.safetensors&arch=resnet20", page.url()).href);
    await page.locator("#facts", { hasText: "from cache" }).waitFor();
    assert.equal(await page.locator("#network-name").textContent(), "resnet20");
    await page.goto(new URL("?weights=weights/none.safetensors", page.url()).href);
    await page.getByRole("alert").filter({ hasText: "404" }).waitFor();
    await page.getByRole("button", { name: "Back to clothes" }).click();
    await ready(page);
    await page.goto(new URL("?weights=https://example.org/net.onnx", page.url()).href);
    await ready(page);
    await page.getByRole("alert").filter({ hasText: "example.org is another one" }).waitFor();

    // Where its own server leads elsewhere the page does not follow. A page of its own, for Chromium tells of the request that it
    // does not make.
    const other = await page.context().browser().newPage();
    const elsewhere = await serve([["/weights/", networks]]);
    const leads = `weights/a?to=${encodeURIComponent(`${elsewhere.origin}/weights/resnet20.safetensors`)}`;
    await other.goto(new URL(`?weights=${encodeURIComponent(leads)}`, page.url()).href);
    await other.getByRole("alert").filter({ hasText: "leads to another server" }).waitFor();
    assert.deepEqual(elsewhere.asked, []);
    elsewhere.close();
    await other.close();
  });
}
