// A look inside: what the package gives, and what the page shows of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export async function testInside({ part, pagePart, difference, losable, ready, answer, networks, reference, rgba }) {
  const looks = JSON.parse(readFileSync(join(networks, "inside.json"), "utf8"));
  const { width, height } = reference;

  for (const { file, count, layers: wanted, filters } of looks) {
    await part(`${file}: its layers hold what those of the native library do`, async (page) => {
      const names = wanted.map((layer) => layer.name);
      const got = await page.evaluate(
        async ({ file, width, height, rgba, names }) => {
          const { Classifier } = await import("./ocelli.js");
          const net = await Classifier.load(`weights/${file}`);
          const picture = new ImageData(new Uint8ClampedArray(rgba), width, height);
          const before = await net.classify(picture);
          const layers = await net.layers();
          const seen = [];
          for (const name of names) {
            const { data, ranges, input, ...rest } = await net.activations(picture, name);
            seen.push({ ...rest, data: [...data], ranges: [...ranges], input: [input.width, input.height] });
          }
          const last = await net.activations(picture, layers.length - 1);
          const filters = await net.filters();
          const timings = await net.timings({ runs: 2 });
          const after = await net.classify(picture);
          net.free();
          return {
            layers,
            seen,
            timings,
            filters: { ...filters, data: [...filters.data] },
            logits: [before.logits, after.logits, last.data].map((x) => [...x]),
          };
        },
        { file, width, height, rgba, names },
      );
      assert.equal(got.layers.length, count);
      let worst = 0;
      wanted.forEach(({ index, name, output, shape, values }, i) => {
        const { data, ranges, ...seen } = got.seen[i];
        assert.deepEqual([seen.index, seen.name, seen.output], [index, name, output]);
        assert.deepEqual([seen.height, seen.width, seen.channels], shape);
        assert.equal(data.length, values.length);
        worst = Math.max(worst, difference(data, values));
        const channel = data.filter((_, at) => at % shape[2] === 1);
        assert.deepEqual(ranges.slice(2, 4), [Math.min(...channel), Math.max(...channel)]);
        assert.deepEqual([got.layers[index].name, got.layers[index].shape], [name, shape]);
      });
      assert.ok(worst <= 1e-4, `relative L2 error ${worst}`);
      assert.deepEqual(got.logits[1], got.logits[0]);
      assert.ok(difference(got.logits[2], got.logits[0]) <= 1e-4);
      const { data, layer, colours, ...sizes } = got.filters;
      const kernel = [sizes.count, sizes.height, sizes.width, sizes.channels];
      assert.deepEqual([layer, kernel], [filters.layer, filters.shape]);
      assert.deepEqual(data, filters.data);
      assert.equal(colours, "bgr");
      const { clock, runs, ms } = got.timings;
      assert.equal(ms.length, count);
      assert.ok(ms.every((x) => x >= 0) && ms.some((x) => x > 0), String(ms));
      const sum = ms.reduce((a, b) => a + b, 0);
      console.log(`         ${worst.toExponential(1)} off; ${count} layers, ${sum.toFixed(0)} ms by ${clock} (${runs} runs)`);
    });
  }

  await part("a look inside: the same file is computed once, and what there is not is an error", async (page) => {
    const got = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      const net = await Classifier.load("models/clothes.safetensors");
      const blob = async (name) => (await fetch(`samples/${name}.png`)).blob();
      const [bag, boot] = [await blob("bag"), await blob("boot")];
      const look = async (picture, layer) => [...(await net.activations(picture, layer)).data];
      const sent = [];
      const post = Worker.prototype.postMessage;
      Worker.prototype.postMessage = function (message, ...rest) {
        sent.push(Boolean(message.picture));
        return post.call(this, message, ...rest);
      };
      const first = await look(bag, "layer1.0.conv1");
      // A file that is the last one again, another one, and the first once more, without waiting in between.
      const [again, other, third] = await Promise.all([bag, boot, bag].map((x) => look(x, "layer1.0.relu1")));
      const fails = (promise) => promise.then(() => "no error", (error) => `${error.name}: ${error.message}`);
      const nowhere = await fails(look(bag, "layer9"));
      const negative = await fails(look(bag, -1));
      const broken = await fails(look(new Blob(["hello"]), 1));
      const after = await look(bag, "layer1.0.conv1");
      Worker.prototype.postMessage = post;
      net.free();
      return { sent, first, again, other, third, after, nowhere, negative, broken, freed: await fails(net.layers()) };
    });
    assert.ok(got.first.length > 0 && got.first.some((x) => x > 0));
    // Both that ask for the same file go at once, before the other one has been decoded; after an error it is sent again.
    assert.deepEqual(got.sent, [true, false, false, true, true, true, true]);
    for (const same of [got.again, got.third, got.after]) assert.deepEqual(same, got.first);
    assert.notDeepEqual(got.other, got.first);
    assert.match(got.nowhere, /there is no layer layer9/);
    assert.match(got.negative, /there is no layer -1/);
    assert.match(got.broken, /^BadPicture: /);
    assert.match(got.freed, /has been freed/);
  });

  const times = (page) => page.locator("#layers .ms").filter({ hasText: /\d/ });

  /** The worker's script with something behind it. */
  const extended = (page, more) =>
    page.route("**/worker.js", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: (await response.text()) + more });
    });

  // The buffers of the first look are really none, as when there is no memory for them, and the browser says that this is why.
  const WITHOUT_MEMORY = `
    const { createBuffer, pushErrorScope, popErrorScope } = GPUDevice.prototype;
    const scopes = [];
    let short = null;
    const hear = onmessage;
    onmessage = (event) => {
      if (event.data.do === "activations") short ??= true;
      hear(event);
    };
    GPUDevice.prototype.pushErrorScope = function (filter) {
      scopes.push(filter);
      pushErrorScope.call(this, filter);
    };
    GPUDevice.prototype.popErrorScope = async function () {
      const missing = scopes.pop() === "out-of-memory" && short;
      if (missing) short = false;
      const found = await popErrorScope.call(this);
      return missing ? new GPUOutOfMemoryError("no memory, for the test") : found;
    };
    GPUDevice.prototype.createBuffer = function (descriptor) {
      if (!short) return createBuffer.call(this, descriptor);
      pushErrorScope.call(this, "validation");
      const none = createBuffer.call(this, { ...descriptor, usage: 0 });
      popErrorScope.call(this);
      return none;
    };
    const has = GPUSupportedFeatures.prototype.has;
    GPUSupportedFeatures.prototype.has = function (name) {
      return name !== "timestamp-query" && has.call(this, name);
    };
  `;

  await pagePart("a look inside without memory is TooLarge, without a GPU clock it waits, and the network goes on", async (page) => {
    await extended(page, WITHOUT_MEMORY);
    await page.reload();
    const got = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      const net = await Classifier.load("models/clothes.safetensors");
      const picture = new ImageData(28, 28);
      const before = await net.classify(picture);
      const errors = [];
      for (let i = 0; i < 2; i++) await net.activations(picture, 1).catch((e) => errors.push(`${e.name}: ${e.message}`));
      const timings = await net.timings({ runs: 3 });
      const after = await net.classify(picture);
      net.free();
      return { errors, timings, logits: [before, after].map(({ logits }) => [...logits]) };
    });
    // There is memory again for the second look, which is not tried: what the first one has taken may not be free yet.
    assert.equal(got.errors.length, 2);
    for (const error of got.errors) assert.match(error, /^TooLarge: .*no memory left/);
    assert.equal(got.timings.clock, "waiting");
    assert.ok(got.timings.ms.every((ms) => ms >= 0) && got.timings.ms[1] > 0, String(got.timings.ms));
    assert.deepEqual(got.logits[1], got.logits[0]);

    // The page says so, and shows what needs no memory.
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    await page.locator("#inside summary").click();
    await page.getByRole("alert").filter({ hasText: "no memory left" }).waitFor();
    await times(page).first().waitFor();
    await page.locator("#layer-after").click();
    await page.locator("#layer-title", { hasText: "layer1.0.conv1" }).waitFor();
    await page.getByRole("alert").filter({ hasText: "no memory left" }).waitFor();
    await page.locator("#layer:not(.waiting)").waitFor();
    assert.equal(await page.locator("#maps").isVisible(), false);
  });

  await part("a look inside leaves no memory behind, and does not mix clocks", async (page) => {
    await extended(
      page,
      `
      let live = 0;
      const { createBuffer, createQuerySet } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        live++;
        return createBuffer.call(this, descriptor);
      };
      GPUDevice.prototype.createQuerySet = function (descriptor) {
        live++;
        return createQuerySet.call(this, descriptor);
      };
      for (const { prototype } of [GPUBuffer, GPUQuerySet]) {
        const { destroy } = prototype;
        prototype.destroy = function () {
          live--;
          destroy.call(this);
        };
      }
      const channel = new BroadcastChannel("live");
      channel.onmessage = () => channel.postMessage(live);
    `,
    );
    const [before, after, mixed, alike] = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      const { timings } = await import("./layers.js");
      const net = await Classifier.load("models/clothes.safetensors");
      const channel = new BroadcastChannel("live");
      const live = () =>
        new Promise((resolve) => {
          channel.onmessage = ({ data }) => resolve(data);
          channel.postMessage("");
        });
      const look = (layer) => net.activations(new ImageData(28, 28), layer);
      await look(1);
      const before = await live();
      for (const layer of [0, 1, 5]) await look(layer);
      await net.timings({ runs: 2 });
      await net.filters();
      const after = await live();
      net.free();

      const of = (...runs) => {
        const left = runs.map(([clock, ...ms]) => JSON.stringify({ clock, ms }));
        return timings({ timings: async () => left.shift() }, { runs: runs.length - 1 });
      };
      const [gpu, wait] = ["timestamps", "waiting"];
      const mixed = await of([gpu, 9, 9], [gpu, 1, 2], [wait, 50, 60], [gpu, 3, 2], [wait, 70, 60]);
      return [before, after, mixed, await of([wait, 9, 9], [gpu, 1, 2], [gpu, 3, 2])];
    });
    assert.ok(before > 0);
    assert.equal(after, before);
    assert.deepEqual(mixed, { clock: "waiting", runs: 2, ms: [60, 60] });
    assert.deepEqual(alike, { clock: "timestamps", runs: 2, ms: [2, 2] });
  });

  /** Opens the section and waits for maps. */
  async function openInside(page) {
    await page.locator("#inside summary").click();
    await page.locator("#maps button").first().waitFor();
  }

  const number = (text) => Number(text.replace("−", "-"));

  await pagePart("the page: a look inside, from layer to layer by keyboard", async (page) => {
    await ready(page);
    // Nothing of it is there before it is opened.
    assert.equal(await page.locator("#layers li").count(), 0);
    await page.locator("#inside summary").focus();
    await page.keyboard.press("Enter");
    await page.locator("#inside-note", { hasText: "Choose a picture" }).waitFor();
    // A filter without a picture opens nothing, then and later.
    await page.getByRole("button", { name: "Filter 5" }).click();
    await page.getByRole("button", { name: "sneaker", exact: true }).click();
    await answer(page, /sneaker/i);
    await page.locator("#maps button").first().waitFor();
    assert.equal(await page.getByRole("dialog").count(), 0);
    assert.equal(await page.locator("#filters button").count(), 16);
    assert.match(await page.locator("#filters-about").textContent(), /conv1: 16 filters of 3 × 3 pixels over 3 channels/);
    const count = await page.locator("#layers li").count();
    const titles = [await page.locator("#layer-title").textContent()];
    assert.equal(titles[0], "conv1");
    assert.match(await page.locator("#layer-about").textContent(), /^2 of \d+ · .* × 16 · convolution, batch norm, ReLU · /);
    assert.equal(await page.locator("#maps button").count(), 16);
    assert.match(await page.locator("#maps button").nth(3).getAttribute("aria-label"), /^channel 3: .* (to .*|everywhere)$/);
    // Maps of one layer are not all alike.
    const drawn = await page.locator("#maps canvas").evaluateAll((all) => new Set(all.map((c) => c.toDataURL())).size);
    assert.ok(drawn > 8, `${drawn} different maps of 16`);

    await page.locator("#layers button[aria-current]").focus();
    await page.keyboard.press("ArrowDown");
    await page.locator("#layer-title", { hasText: "layer1.0.conv1" }).waitFor();
    await page.locator("#layer:not(.waiting)").waitFor();
    assert.equal(await page.locator("#layers button[aria-current]").count(), 1);
    assert.match(await page.locator("#layers button[aria-current]").textContent(), /layer1\.0\.conv1/);
    await times(page).nth(count - 1).waitFor();
    assert.match(await page.locator("#layers-clock").textContent(), /a picture, (by the GPU's own clock|one layer at a time with waiting)/);

    // A map that has been opened meanwhile is not one of the layer that comes, which has fewer.
    await page.evaluate(() => {
      document.querySelectorAll("#layers button")[0].click();
      document.querySelectorAll("#maps button")[10].click();
    });
    await page.locator("#layer:not(.waiting)").waitFor();
    assert.equal(await page.locator("#maps button").count(), 3);
    assert.equal(await page.getByRole("dialog").count(), 0);
    // Nor is a filter whose layer has been left again.
    await page.evaluate(() => {
      document.querySelectorAll("#filters button")[5].click();
      document.querySelector("#layer-before").click();
    });
    await page.locator("#layer:not(.waiting)").waitFor();
    assert.equal(await page.locator("#layer-title").textContent(), "input");
    assert.equal(await page.getByRole("dialog").count(), 0);
    assert.equal(await page.locator("#inside-error").textContent(), "");

    assert.match(await page.locator("#scale-least").textContent(), /\d/);
    await page.locator("#own-scale").check();
    assert.equal(await page.locator("#scale-least").textContent(), "least of each map");
    await page.locator("#own-scale").uncheck();

    // The logits are bars with the names of the classes.
    await page.locator("#layers button[aria-current]").focus();
    await page.keyboard.press("End");
    await page.locator("#vector").waitFor();
    assert.equal(await page.locator("#maps").isVisible(), false);
    // At the end the focus stays.
    await page.locator("#layer-before").focus();
    await page.keyboard.press("Enter");
    await page.locator("#layer-after").focus();
    await page.keyboard.press("Enter");
    await page.locator("#layer-after[aria-disabled=true]:focus").waitFor();
    await page.locator("#layer:not(.waiting)").waitFor();
    // The largest comes first.
    assert.match(await page.locator("#vector-said").textContent(), /sneaker: /i);
    await page.locator("#vector-at").focus();
    await page.keyboard.press("Home");
    const named = [];
    for (let i = 0; i < 10; i++) {
      named.push(await page.locator("#vector-said").textContent());
      await page.keyboard.press("ArrowRight");
    }
    assert.equal(new Set(named).size, 10);
    const [label] = named.map((text) => text.split(": ")).sort((a, b) => number(b[1]) - number(a[1]))[0];
    assert.match(label, /sneaker/i);
  });

  await pagePart("the page: a map over the picture, another picture, another network, a lost GPU", async (page) => {
    await losable(page);
    await page.reload();
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    await openInside(page);
    await page.getByRole("button", { name: "Filter 5" }).click();
    await page.getByRole("dialog", { name: "conv1" }).waitFor();
    assert.match(await page.locator("#map-said").textContent(), /^Channel 5: /);
    await page.keyboard.press("ArrowRight");
    assert.match(await page.locator("#map-said").textContent(), /^Channel 6: /);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });

    const labels = () => page.locator("#maps button").evaluateAll((all) => all.map((b) => b.getAttribute("aria-label")));
    const before = await labels();
    await page.getByRole("button", { name: "trouser", exact: true }).click();
    await answer(page, /trouser/i);
    await page.waitForFunction((old) => document.querySelector("#maps button").getAttribute("aria-label") !== old, before[0]);
    assert.equal((await labels()).length, 16);

    await page.locator("#weights").setInputFiles(join(networks, "zfnet.safetensors"));
    await page.locator("#network-name", { hasText: "zfnet" }).waitFor();
    await page.locator("#filters-about", { hasText: "7 × 7" }).waitFor();
    await page.locator("#all-maps", { hasText: "Show all 96 maps" }).waitFor();
    assert.equal(await page.locator("#maps button").count(), 64);
    await page.locator("#all-maps").click();
    assert.equal(await page.locator("#maps button").count(), 96);
    await times(page).first().waitFor();

    // Nothing of the picture before stays when the next one is none.
    await page.locator("#file").setInputFiles({ name: "none.png", mimeType: "image/png", buffer: Buffer.from("none") });
    await page.getByRole("alert").filter({ hasText: "cannot be read" }).waitFor();
    await page.locator("#inside-note", { hasText: "Choose a picture" }).waitFor();
    await page.locator("#layer-after").click();
    assert.equal(await page.locator("#maps").isVisible(), false);
    assert.equal(await page.locator("#layer.waiting").count(), 0);
    await page.getByRole("button", { name: "Back to clothes" }).click();
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    await page.locator("#maps button").first().waitFor();

    await page.evaluate(() => new BroadcastChannel("lose").postMessage(""));
    await page.waitForTimeout(300);
    await page.locator("#layer-after").click();
    await page.getByRole("alert").filter({ hasText: "took the GPU away" }).waitFor();
    await page.locator("#layer:not(.waiting)").waitFor();
    await page.locator("#maps button").first().waitFor();
  });
}
