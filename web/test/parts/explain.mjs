// Why the network says so: what the package gives, and what the page shows of it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ALLOWED, CAMERA } from "../browser.mjs";

export async function explain({ part, pagePart, losable, ready, answer, networks, reference, rgba }) {
  const reasons = JSON.parse(readFileSync(join(networks, "why.json"), "utf8"));
  const { width, height } = reference;

  /** The greatest difference as a share of the greatest number. */
  function apart(got, wanted) {
    assert.equal(got.length, wanted.length);
    const most = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-30);
    return got.reduce((worst, x, i) => Math.max(worst, Math.abs(x - wanted[i])), 0) / most;
  }

  for (const { file, picture, class: asked, cam, occlusion, units } of reasons) {
    await part(`${file}: its reasons are those of the native library`, async (page) => {
      const questions = units.map(({ asked, unit }) => [asked, unit]);
      const got = await page.evaluate(
        async ({ file, picture, asked, width, height, rgba, questions, stride }) => {
          const { Classifier } = await import("./ocelli.js");
          const net = await Classifier.load(file);
          const image = picture
            ? await (await fetch(picture)).blob()
            : new ImageData(new Uint8ClampedArray(rgba), width, height);
          const before = await net.classify(image);
          const plain = ({ heat, map, input, ...rest }) => ({
            ...rest,
            heat: [...heat],
            map: [...map.data],
            size: [map.height, map.width],
            input: [input.height, input.width],
          });
          const options = asked === null ? {} : { class: asked };
          const cam = plain(await net.why(image, options));
          const told = [];
          const onProgress = (progress) => told.push(progress);
          const occlusion = plain(await net.why(image, { ...options, method: "occlusion", stride, onProgress }));
          const units = [];
          for (const [layer, unit] of questions) {
            const { image: numbers, input, ...rest } = await net.deconvnet(image, layer, unit);
            units.push({ ...rest, image: numbers && [...numbers], input: [input.height, input.width] });
          }
          const after = await net.classify(image);
          net.free();
          return { cam, occlusion, units, told, logits: [[...before.logits], [...after.logits]], input: net.info.input };
        },
        { file, picture, asked, width, height, rgba, questions, stride: occlusion.stride },
      );
      const worst = {};
      const pick = (found, names) => Object.fromEntries(names.map((name) => [name, found[name]]));
      for (const found of [got.cam, got.occlusion, ...got.units]) assert.deepEqual(found.input, got.input.slice(0, 2));
      assert.deepEqual(pick(got.cam, ["index", "layer", "size"]), pick(cam, ["index", "layer", "size"]));
      assert.equal(got.cam.method, "grad-cam");
      worst.probability = Math.abs(got.cam.probability - cam.probability);
      worst.map = apart(got.cam.map, cam.map);
      worst.heat = apart(got.cam.heat, cam.heat);
      const places = ["index", "square", "rows", "columns"];
      assert.deepEqual(pick(got.occlusion, places), pick(occlusion, places));
      assert.equal(got.occlusion.map.length, occlusion.rows.length * occlusion.columns.length);
      worst.hidden = apart(got.occlusion.map, occlusion.map);
      // Shares of the greatest loss: of the probability itself if that is small.
      const loss = cam.probability - Math.min(...occlusion.map);
      worst.loss = Math.max(...got.occlusion.heat.map((x, i) => Math.abs(x - occlusion.heat[i]))) * Math.max(loss, 0);
      const all = occlusion.map.length;
      assert.deepEqual(got.told.at(-1), { done: all, total: all });
      worst.deconvnet = 0;
      let silent = 0;
      got.units.forEach((found, i) => {
        const names = ["layer", "unit", "place", "size", "field"];
        assert.deepEqual(pick(found, names), pick(units[i], names));
        assert.ok(Math.abs(found.activation - units[i].activation) <= 1e-4 * Math.abs(units[i].activation) + 1e-6);
        assert.equal(found.image === null, units[i].image === null);
        if (found.image) worst.deconvnet = Math.max(worst.deconvnet, apart(found.image, units[i].image));
        else silent++;
      });
      assert.deepEqual(got.logits[1], got.logits[0]);
      for (const [name, off] of Object.entries(worst)) assert.ok(off <= 1e-4, `${name} is ${off} off`);
      const told = Object.entries(worst).map(([name, off]) => `${name} ${off.toExponential(1)}`);
      console.log(`         ${told.join(", ")}; ${units.length} units, ${silent} silent; ${all} places in ${got.told.length} batches`);
    });
  }

  await part("reasons: what there is not is an error, and a question that is given up ends", async (page) => {
    const got = await page.evaluate(async () => {
      const { Classifier } = await import("./ocelli.js");
      const net = await Classifier.load("models/clothes.safetensors");
      const boot = await (await fetch("samples/boot.png")).blob();
      const { OcelliError } = await import("./ocelli.js");
      const fails = (promise) =>
        promise.then(
          () => "no error",
          (error) => `${error instanceof OcelliError ? "" : "foreign "}${error.name}: ${error.message}`,
        );
      const said = {
        class: await fails(net.why(boot, { class: 10 })),
        negative: await fails(net.why(boot, { class: -1 })),
        hidden: await fails(net.why(boot, { class: 10, method: "occlusion" })),
        method: await fails(net.why(boot, { method: "guess" })),
        square: await fails(net.why(boot, { method: "occlusion", square: 29 })),
        stride: await fails(net.why(boot, { method: "occlusion", stride: 0 })),
        layer: await fails(net.deconvnet(boot, "layer9", 0)),
        camLayer: await fails(net.why(boot, { layer: "layer9" })),
        number: await fails(net.deconvnet(boot, 99, 0)),
        several: await fails(net.deconvnet(boot, "relu", 0)),
        unit: await fails(net.deconvnet(boot, "layer1.0.conv1", 16)),
        noUnit: await fails(net.deconvnet(boot, "layer1.0.conv1")),
        picture: await fails(net.why(new Blob(["hello"]))),
      };
      // A part of a name, and an operation that has no kernel of its own.
      const names = [await net.deconvnet(boot, "3.2.relu2", 5), await net.deconvnet(boot, "layer1.0.bn1", 5)];

      const stop = new AbortController();
      const told = [];
      const onProgress = (progress) => {
        told.push(progress);
        stop.abort();
      };
      const long = fails(net.why(boot, { method: "occlusion", stride: 1, signal: stop.signal, onProgress }));
      // What is asked afterwards waits for a batch, not for the rest.
      const after = net.why(boot);
      const ended = await long;
      const { label } = await after;
      const stopped = new AbortController();
      stopped.abort();
      const never = await fails(net.why(boot, { signal: stopped.signal }));
      net.free();
      return { said, names: names.map(({ layer }) => layer), told, ended, label, never, freed: await fails(net.why(boot)) };
    });
    const { said } = got;
    for (const key of ["class", "hidden"]) assert.match(said[key], /^(OcelliError|Internal): there is no class 10.*0 to 9/);
    assert.match(said.negative, /^OcelliError: there is no class -1/);
    assert.match(said.method, /^OcelliError: there is no method guess/);
    assert.match(said.square, /^OcelliError: a square of 29 pixels/);
    assert.match(said.stride, /^OcelliError: there is no stride of pixels 0/);
    for (const key of ["layer", "camLayer"]) assert.match(said[key], /^OcelliError: there is no layer layer9/);
    assert.match(said.number, /^OcelliError: there is no layer 99/);
    assert.match(said.several, /^OcelliError: relu is a part of the names of \d+ layers/);
    assert.match(said.unit, /^OcelliError: .*there is no unit 16.*0 to 15/);
    assert.match(said.noUnit, /^OcelliError: there is no unit/);
    assert.match(said.picture, /^BadPicture: /);
    assert.deepEqual(got.names, ["layer3.2.relu2", "layer1.0.bn1"]);
    assert.match(got.ended, /^foreign AbortError/);
    // The batch after the one that was told may have been begun already.
    assert.ok(got.told.length <= 2 && got.told[0].done < got.told[0].total, JSON.stringify(got.told));
    assert.equal(got.label, "Ankle boot");
    assert.match(got.never, /^foreign AbortError/);
    assert.match(got.freed, /has been freed/);
  });

  /** Presses Tab until the element has the focus. */
  async function reach(page, locator, key = "Tab") {
    for (let i = 0; i < 60; i++) {
      if (await locator.evaluate((element) => element === document.activeElement)) return;
      await page.keyboard.press(key);
    }
    assert.fail(`${locator} cannot be reached with ${key}`);
  }

  /** The colours of a canvas: how many there are. */
  const colours = (page, id) =>
    page.evaluate((id) => {
      const canvas = document.getElementById(id);
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    }, id);

  await pagePart("the page: why, by keyboard", async (page) => {
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    const buttons = page.getByRole("button", { name: /^Why\? / });
    assert.equal(await buttons.count(), 5);
    const first = page.getByRole("button", { name: "Why? Ankle boot", exact: true });
    const over = page.locator("#why-over");
    const said = page.locator("#why-said");
    assert.equal(await over.isVisible(), false);
    await reach(page, first);
    await page.keyboard.press("Enter");
    await said.filter({ hasText: /^Ankle boot, \d+(\.\d)?%: the layer layer3\.2\.relu2 speaks for it most / }).waitFor();
    assert.equal(await said.getAttribute("aria-live"), "polite");
    assert.equal(await first.getAttribute("aria-pressed"), "true");
    assert.ok(await first.evaluate((button) => button === document.activeElement), "the focus stays");
    assert.equal(await page.getByRole("heading", { name: "Why Ankle boot?" }).isVisible(), true);
    assert.equal(await page.getByRole("img", { name: "Grad-CAM for Ankle boot, over the picture" }).isVisible(), true);
    assert.ok((await colours(page, "why-over")) > 200);
    // The heat lies where the picture does.
    const [one, other] = await Promise.all(["why-over", "stage"].map((id) => page.locator(`#${id}`).boundingBox()));
    for (const side of ["width", "height"]) assert.ok(Math.abs(one[side] - other[side]) <= 5, JSON.stringify([one, other]));
    const numbers = await page.evaluate(async () => {
      const { heatOver } = await import("./colours.js");
      const picture = new ImageData(new Uint8ClampedArray([100, 100, 100, 255, 100, 100, 100, 255, 0, 0, 0, 255]), 3, 1);
      return [...heatOver(picture, Float32Array.of(0, 1, 0.25), 0.7).data];
    });
    // Those of `overlay` of the library.
    assert.deepEqual(numbers, [100, 100, 100, 255, 207, 192, 56, 255, 21, 29, 49, 255]);

    // Another class, and another way.
    const second = buttons.nth(1);
    const name = (await second.getAttribute("aria-label")).slice("Why? ".length);
    await reach(page, second);
    await page.keyboard.press("Space");
    await said.filter({ hasText: new RegExp(`^${name}, `) }).waitFor();
    assert.deepEqual(await buttons.evaluateAll((all) => all.map((b) => b.getAttribute("aria-pressed"))), [
      "false",
      "true",
      ...Array(3).fill("false"),
    ]);
    await reach(page, first, "Shift+Tab");
    await page.keyboard.press("Enter");
    await said.filter({ hasText: /^Ankle boot, / }).waitFor();
    await reach(page, page.getByRole("radio", { name: "Grad-CAM" }), "Shift+Tab");
    await page.keyboard.press("ArrowRight");
    await page.getByRole("progressbar", { name: "Places of the square" }).waitFor();
    await said.filter({ hasText: /: it falls to \d+(\.\d)?% when a square of 7 × 7 pixels at row \d+, column \d+ is hidden\.$/ }).waitFor();
    assert.equal(await page.getByRole("img", { name: /^Occlusion for Ankle boot/ }).isVisible(), true);
    assert.equal(await page.locator("#why-progress").isVisible(), false);
    // A newer question ends the older one.
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowLeft");
    await said.filter({ hasText: /speaks for it most/ }).waitFor();
    assert.equal(await page.locator("#why").getAttribute("aria-busy"), null);

    // Another picture is explained for its own class, and it can be switched off.
    await page.getByRole("button", { name: "bag", exact: true }).click();
    await said.filter({ hasText: /^Bag, / }).waitFor();
    await reach(page, page.getByRole("button", { name: "Show the picture again" }));
    await page.keyboard.press("Enter");
    assert.equal(await over.isVisible(), false);
    assert.equal(await said.textContent(), "");
    assert.equal(await page.locator("#why").isVisible(), false);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Why? Bag");
    await page.keyboard.press("Enter");
    await said.filter({ hasText: /^Bag, / }).waitFor();
    await page.keyboard.press("Enter");
    assert.equal(await over.isVisible(), false, "pressed again it is switched off");

    // Nothing of it stays for another network.
    await page.keyboard.press("Enter");
    await said.filter({ hasText: /^Bag, / }).waitFor();
    await page.locator("#weights").setInputFiles(join(networks, "resnet20.safetensors"));
    await answer(page, /kind \d/);
    assert.equal(await page.locator("#why").isVisible(), false);
    await buttons.first().click();
    await said.filter({ hasText: /^kind \d, / }).waitFor();
  });

  await pagePart("the page: what made a map fire, by keyboard", async (page) => {
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    await page.locator("#inside summary").click();
    await page.locator("#maps button").first().waitFor();
    await reach(page, page.locator("#maps button").first());
    await page.keyboard.press("Enter");
    const said = page.locator("#seen-said");
    const fires = /^It fires most at row \d+, column \d+ of 28\s×\s28, with [\d.]+, because of \d\s×\s\d pixels at row \d+, column \d+\.$/;
    await said.filter({ hasText: /./ }).waitFor();
    assert.equal(await said.getAttribute("aria-live"), "polite");
    const texts = [];
    for (let i = 0; i < 16; i++) {
      await said.filter({ hasText: i === 0 ? /./ : new RegExp(`^(It fires|Channel ${i} does not)`) }).waitFor();
      await page.locator("#seen:not(.waiting), #seen[hidden]").waitFor({ state: "attached" });
      texts.push(await said.textContent());
      if (i < 15) {
        await page.keyboard.press("ArrowRight");
        await page.waitForFunction((before) => document.getElementById("seen-said").textContent !== before, texts.at(-1));
      }
    }
    const silent = texts.filter((text, i) => text === `Channel ${i} does not fire for this picture: its greatest number is 0.`);
    assert.ok(texts.every((text) => fires.test(text) || silent.includes(text)), texts.join("\n"));
    assert.ok(texts.length - silent.length > 8, texts.join("\n"));
    const strong = texts.findIndex((text) => fires.test(text));
    for (let i = 15; i > strong; i--) await page.keyboard.press("ArrowLeft");
    await said.filter({ hasText: texts[strong] }).waitFor();
    assert.equal(await page.getByRole("img", { name: /^What the DeconvNet passes back to \d\s×\s\d pixels/ }).isVisible(), true);
    assert.equal(await page.getByRole("img", { name: /^The picture: \d\s×\s\d pixels/ }).isVisible(), true);
    assert.ok((await colours(page, "seen-image")) > 2);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "hidden" });

    // The picture itself has nothing behind it, and a lost GPU is told.
    await page.locator("#layer-before").click();
    await page.locator("#layer:not(.waiting)").waitFor();
    await page.locator("#maps button").first().click();
    await page.getByRole("dialog").waitFor();
    assert.equal(await page.locator("#seen").isVisible(), false);
    assert.equal(await said.textContent(), "");
  });

  await pagePart("the page: a GPU that is lost while it explains", async (page) => {
    await losable(page);
    await page.reload();
    await ready(page);
    await page.getByRole("button", { name: "boot", exact: true }).click();
    await answer(page, /boot/i);
    await page.evaluate(() => new BroadcastChannel("lose").postMessage(""));
    await page.waitForTimeout(300);
    await page.getByRole("button", { name: "Why? Ankle boot" }).click();
    await page.getByRole("alert").filter({ hasText: "took the GPU away" }).waitFor();
    await answer(page, /boot/i);
    await page.getByRole("button", { name: "Why? Ankle boot" }).click();
    await page.locator("#why-said", { hasText: /speaks for it most/ }).waitFor();
  });

  await pagePart(
    "the page: with the camera on the layer and the reasons follow, and frames do not queue up",
    async (page) => {
      // How many questions the worker has at a time, and which ones.
      await page.addInitScript(() => {
        window.asked = { now: new Set(), most: 0, all: {} };
        globalThis.Worker = class extends Worker {
          constructor(...given) {
            super(...given);
            // Before the page hears of it.
            this.addEventListener("message", ({ data }) => data.progress || window.asked.now.delete(data.id));
          }
          postMessage(message, ...rest) {
            super.postMessage(message, ...rest);
            if (message.do === "stop") return;
            const { asked } = window;
            asked.now.add(message.id);
            asked.most = Math.max(asked.most, asked.now.size);
            asked.all[message.do] = (asked.all[message.do] ?? 0) + 1;
          }
        };
      });
      await page.reload();
      await ready(page);
      await page.locator("#inside summary").click();
      await page.locator("#layers-clock", { hasText: "a picture" }).waitFor();
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.locator("#live", { hasText: /second/ }).waitFor();
      await page.locator("#maps button").first().waitFor();
      assert.equal(await page.locator("#inside-note").textContent(), "");
      await page.getByRole("button", { name: /^Why\? / }).first().click();
      await page.locator("#why-over:not([hidden])").waitFor();
      assert.equal(await page.locator("#why-said").getAttribute("aria-live"), "off");
      assert.equal(await page.getByRole("radio", { name: "Occlusion" }).isDisabled(), true);
      await page.evaluate(() => {
        window.asked.most = 0;
        window.asked.all = {};
        window.drawn = new Set();
        window.drawing = setInterval(() => {
          window.drawn.add(document.getElementById("why-over").toDataURL() + document.querySelector("#maps canvas").toDataURL());
        }, 100);
      });
      await page.locator("#layer-after").click();
      await page.locator("#layer:not(.waiting)").waitFor();
      await page.waitForFunction(() => window.asked.all.why >= 6 && window.asked.all.activations >= 6);
      const { most, all, drawn } = await page.evaluate(() => {
        clearInterval(window.drawing);
        return { ...window.asked, drawn: window.drawn.size };
      });
      assert.equal(most, 1, "one question at a time");
      assert.ok(Math.abs(all.why - all.classify) <= 1 && Math.abs(all.activations - all.classify) <= 2, JSON.stringify(all));
      assert.ok(drawn >= 3, `${drawn} different frames were shown`);

      // What made a map fire follows too. The focus stays where it is.
      await page.locator("#maps button").nth(2).focus();
      await page.keyboard.press("Enter");
      await page.locator("#seen-said", { hasText: /^(It fires|Channel 2 does not)/ }).waitFor();
      await page.waitForFunction(() => window.asked.all.deconvnet >= 3);
      await page.keyboard.press("Escape");

      // The last frame stays, explained.
      await page.getByRole("button", { name: "Stop the camera" }).click();
      await page.getByAltText("The picture from the camera").waitFor();
      await page.locator("#why-said", { hasText: /speaks for it|nothing in the layer/ }).waitFor();
      assert.equal(await page.getByRole("radio", { name: "Occlusion" }).isDisabled(), false);
      await page.locator("#maps button").first().waitFor();
      assert.equal(await page.locator("#inside-error").textContent(), "");
    },
    { flags: [CAMERA, ALLOWED] },
  );
}
