// The camera of the page, with one that shows a moving pattern, and without.
import assert from "node:assert/strict";
import { ALLOWED, CAMERA } from "../browser.mjs";

export async function camera({ pagePart, ready, answer }) {
  await pagePart(
    "the page: the camera, frame after frame",
    async (page) => {
      await ready(page);
      // What is read aloud.
      await page.evaluate(() => {
        window.aloud = [];
        new MutationObserver(() => {
          const { textContent } = document.getElementById("announce");
          if (textContent) window.aloud.push(textContent);
        }).observe(document.getElementById("announce"), { childList: true });
        window.frames = 0;
        new MutationObserver(() => window.frames++).observe(document.getElementById("top"), { childList: true, subtree: true });
      });
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.locator("#live", { hasText: /^[\d.,]+ pictures a second$/ }).waitFor();
      assert.equal(await page.locator("#video").isVisible(), true);
      await page.waitForFunction(() => window.frames > 12 && window.aloud.length > 0);
      const { frames, aloud, live } = await page.evaluate(() => ({
        frames: window.frames,
        aloud: window.aloud,
        live: document.getElementById("said").getAttribute("aria-live"),
      }));
      assert.equal(live, "off");
      assert.ok(aloud.length < frames / 3, `${aloud.length} names read aloud in ${frames} frames`);

      const use = async () => {
        await page.getByRole("button", { name: "Use the camera" }).click();
        await page.locator("#live", { hasText: /second/ }).waitFor();
        await page.evaluate(() => (window.tracks = document.getElementById("video").srcObject.getTracks()));
        assert.deepEqual(await tracks(), ["live"]);
      };
      const tracks = () => page.evaluate(() => window.tracks.map((track) => track.readyState));
      await page.evaluate(() => (window.tracks = document.getElementById("video").srcObject.getTracks()));
      assert.deepEqual(await tracks(), ["live"]);
      await page.getByRole("button", { name: "Stop the camera" }).click();
      await page.getByAltText("The picture from the camera").waitFor();
      await answer(page, /./);
      assert.equal(await page.locator("#video").isVisible(), false);
      assert.deepEqual(await tracks(), ["ended"]);

      // Another picture ends it, and so does a page that nobody sees.
      await use();
      await page.getByRole("button", { name: "boot", exact: true }).click();
      await page.getByRole("button", { name: "Use the camera" }).waitFor();
      await answer(page, /boot/i);
      assert.deepEqual(await tracks(), ["ended"]);
      await use();
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      assert.deepEqual(await tracks(), ["ended"]);
      assert.equal(await page.getByRole("button", { name: "Use the camera" }).isVisible(), true);
      await answer(page, /boot/i);
    },
    { flags: [CAMERA, ALLOWED] },
  );

  await pagePart(
    "the page: a picture that is chosen while the camera takes its time",
    async (page) => {
      await ready(page);
      // The visitor thinks, and the browser makes its file, until the test says so.
      await page.evaluate(() => {
        const wait = new Promise((resolve) => (window.allow = resolve));
        const { mediaDevices } = navigator;
        const ask = mediaDevices.getUserMedia.bind(mediaDevices);
        mediaDevices.getUserMedia = async (wanted) => {
          await wait;
          const stream = await ask(wanted);
          window.tracks = stream.getTracks();
          return stream;
        };
      });
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.getByRole("button", { name: "boot", exact: true }).click();
      await answer(page, /boot/i);
      await page.evaluate(() => window.allow());
      await page.waitForFunction(() => window.tracks?.every((track) => track.readyState === "ended"));
      assert.equal(await page.locator("#video").isVisible(), false);
      assert.equal(await page.getByAltText("The picture boot").isVisible(), true);

      // A picture that is still being classified leaves no trace when the camera starts.
      await page.evaluate(async () => {
        const { Classifier } = await import("./ocelli.js");
        const { classify } = Classifier.prototype;
        const wait = new Promise((resolve) => (window.goOn = resolve));
        Classifier.prototype.classify = async function (image, options) {
          if (image instanceof Blob) await wait;
          return classify.call(this, image, options);
        };
      });
      await page.getByRole("button", { name: "bag", exact: true }).click();
      await page.locator("[aria-busy]").waitFor();
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.locator("#live", { hasText: /second/ }).waitFor();
      assert.equal(await page.locator("[aria-busy]").count(), 0);
      await page.evaluate(() => window.goOn());

      // The same while its last picture becomes a file.
      await page.evaluate(() => {
        const made = HTMLCanvasElement.prototype.toBlob;
        HTMLCanvasElement.prototype.toBlob = function (done) {
          made.call(this, (blob) => (window.made = () => done(blob)));
        };
      });
      await page.getByRole("button", { name: "Stop the camera" }).click();
      await page.waitForFunction(() => window.made);
      await page.getByRole("button", { name: "boot", exact: true }).click();
      await answer(page, /boot/i);
      await page.evaluate(() => window.made());
      await page.waitForTimeout(300);
      assert.equal(await page.getByAltText("The picture boot").isVisible(), true);
      await answer(page, /boot/i);
    },
    { flags: [CAMERA, ALLOWED] },
  );

  await pagePart(
    "the page: a camera that is refused, and none",
    async (page) => {
      await ready(page);
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.getByRole("alert").filter({ hasText: "The camera was refused; allow it" }).waitFor();
      for (const [name, says] of [
        ["NotFoundError", "There is no camera on this device."],
        ["NotReadableError", "another program may be using it"],
      ]) {
        await page.evaluate((name) => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", name));
        }, name);
        await page.getByRole("button", { name: "Use the camera" }).click();
        await page.getByRole("alert").filter({ hasText: says }).waitFor();
      }
      await page.evaluate(() => Object.defineProperty(navigator, "mediaDevices", { value: undefined }));
      await page.getByRole("button", { name: "Use the camera" }).click();
      await page.getByRole("alert").filter({ hasText: "only for secure pages" }).waitFor();
      await page.getByRole("button", { name: "boot", exact: true }).click();
      await answer(page, /boot/i);
    },
    { flags: [CAMERA] },
  );
}
