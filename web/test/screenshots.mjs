// Pictures of the page at phone and desk width, light and dark.
//
//   node screenshots.mjs DIST FOLDER
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "./browser.mjs";
import { serve } from "./server.mjs";

const [dist = "../dist", folder = "../../target/screenshots"] = process.argv.slice(2);
// Device pixels for a pixel of the page.
const SCALE = Number(process.env.SCALE ?? 1);
const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 800 } };

mkdirSync(folder, { recursive: true });
const server = await serve([["/", dist]]);
const browser = await open();
for (const [name, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport, colorScheme, deviceScaleFactor: SCALE });
    await page.goto(server.origin);
    await page.getByRole("button", { name: "sneaker" }).click();
    await page.locator("#top li").first().waitFor({ timeout: 120_000 });
    await page.waitForTimeout(600);
    await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`), fullPage: true });
    await page.locator("#inside summary").click();
    await page.locator("#layers-clock").filter({ hasText: "a picture" }).waitFor({ timeout: 120_000 });
    await page.mouse.move(0, 0);
    await page.waitForTimeout(300);
    await page.locator("#inside").screenshot({ path: join(folder, `inside-${name}-${colorScheme}.png`) });
    await page.locator("#layers button", { hasText: "layer1.0.conv2" }).click();
    await page.locator("#layer:not(.waiting)").waitFor();
    await page.locator("#maps button").nth(4).click();
    await page.locator("#seen:not(.waiting)").waitFor();
    await page.waitForTimeout(300);
    await page.screenshot({ path: join(folder, `map-${name}-${colorScheme}.png`) });
    await page.locator("#map-close").click();
    for (const [method, said] of [["grad-cam", "speaks for it"], ["occlusion", "it falls to"]]) {
      if (method === "grad-cam") await page.getByRole("button", { name: "Why?" }).first().click();
      else await page.getByRole("radio", { name: "Occlusion" }).check();
      await page.locator("#why-said", { hasText: said }).waitFor({ timeout: 120_000 });
      await page.mouse.move(0, 0);
      await page.waitForTimeout(300);
      await page.locator(".bench").screenshot({ path: join(folder, `${method}-${name}-${colorScheme}.png`) });
    }
    await page.close();
  }
}
// Without WebGPU, and before the first picture.
const page = await browser.newPage({ viewport: SIZES.phone, deviceScaleFactor: SCALE });
await page.goto(server.origin);
await page.getByText("Made with Ocelli").waitFor({ timeout: 120_000 });
await page.screenshot({ path: join(folder, "phone-empty.png"), fullPage: true });
await page.addInitScript(() => delete Navigator.prototype.gpu);
await page.reload();
await page.screenshot({ path: join(folder, "phone-without.png"), fullPage: true });
await browser.close();
await server.close();
