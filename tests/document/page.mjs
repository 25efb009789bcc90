// Looks at /docs in Chromium and says, as JSON, what was to be seen. The one argument is JSON: `package` (the folder with
// playwright-core), `chromium` (the program), `port` (of the server), `profile` and `shots` (folders).
import { statSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(told.package, "package.json"))("playwright-core");
// No name of this machine: a viewer may treat those kindly.
const host = `alpine.example:${told.port}`;
const seen = { foreign: [], errors: [], violations: [], failed: [], shots: [] };

const context = await chromium.launchPersistentContext(told.profile, {
  executablePath: told.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP alpine.example 127.0.0.1"],
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 1000 },
});
const page = await context.newPage();
page.setDefaultTimeout(30_000);
page.on("request", (request) => {
  const url = new URL(request.url());
  if (url.protocol !== "data:" && url.host !== host) seen.foreign.push(request.url());
});
page.on("response", (response) => response.status() >= 400 && seen.failed.push(`${response.status()} ${response.url()}`));
page.on("requestfailed", (request) => seen.failed.push(`${request.failure()?.errorText} ${request.url()}`));
page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
page.on("pageerror", (error) => seen.errors.push(String(error)));
await page.exposeFunction("violated", (what) => seen.violations.push(what));
await page.addInitScript(() =>
  document.addEventListener("securitypolicyviolation", (event) => window.violated(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`)),
);

async function shoot(name) {
  const path = join(told.shots, `${name}.png`);
  await page.screenshot({ path });
  seen.shots.push({ name, bytes: statSync(path).size });
}

await page.goto(`https://${host}/docs`);
await page.waitForSelector(".opblock-summary-operation-id");
seen.title = await page.title();
seen.ids = await page.locator(".opblock-summary-operation-id").allTextContents();
await shoot("docs");

// One operation opened, with its parameters, examples and answers.
await page.locator("#operations-sessions-createSession .opblock-summary-control").click();
await page.waitForSelector("#operations-sessions-createSession .responses-table");
await page.locator("#operations-sessions-createSession").scrollIntoViewIfNeeded();
await page.evaluate(() => document.querySelector("#operations-sessions-createSession").scrollIntoView());
await shoot("docs-operation");

// One tried.
const livez = page.locator("#operations-system-livez");
await livez.locator(".opblock-summary-control").click();
await livez.locator("button.try-out__btn").click();
await livez.locator("button.execute").click();
const answer = livez.locator(".live-responses-table .response");
await answer.first().waitFor();
seen.tried = {
  status: (await answer.first().locator(".response-col_status").innerText()).trim().split(/\s/)[0],
  body: (await answer.first().locator(".highlight-code code, .microlight").first().innerText()).trim(),
};

await page.goto(`https://${host}/docs/errors#ERR_OPERATION_CONFLICT`);
seen.codes = await page.locator("tr[id^=ERR_]").count();
await shoot("docs-errors");

// What is not to be: had a page of ours held a script of somebody else's, or a picture from elsewhere, it would not come.
const found = { ...seen, violations: [...seen.violations], foreign: [...seen.foreign], errors: [...seen.errors], failed: [...seen.failed] };
seen.violations.length = 0;
await page.evaluate(() => {
  document.body.append(Object.assign(new Image(), { src: "https://elsewhere.example/x.png" }));
  document.body.append(Object.assign(document.createElement("script"), { textContent: "window.intruder = true" }));
});
await page.waitForTimeout(200);
found.blocked = seen.violations.map((what) => what.split(":")[0]).sort();
found.intruder = await page.evaluate(() => window.intruder ?? false);

// How many colours, and how much of the picture the commonest has.
const sheet = await context.newPage();
for (const shot of found.shots) {
  const png = readFileSync(join(told.shots, `${shot.name}.png`)).toString("base64");
  Object.assign(
    shot,
    await sheet.evaluate(async (png) => {
      const image = new Image();
      image.src = `data:image/png;base64,${png}`;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
      canvas.drawImage(image, 0, 0);
      const counts = new Map();
      const pixels = new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer);
      for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
      return { colours: counts.size, commonest: Math.max(...counts.values()) / pixels.length };
    }, png),
  );
}
await context.close();
console.log(JSON.stringify(found));
