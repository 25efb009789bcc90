// Opens a session's page in Chromium as `alpine open` does, and says, as JSON, what was to be seen. The one argument is JSON: `package` (the folder
// with playwright-core), `chromium` (the program), `way_in` (an address with a code), `origin` (of the session), `sibling` and `api` (pages of other origins),
// `others` (where another person is let into a session of their own), `seconds`, `profile` and `shot` (paths).
import { createRequire } from "node:module";
import { join } from "node:path";

const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(join(told.package, "package.json"))("playwright-core");
const seen = { failed: [], errors: [] };

const context = await chromium.launchPersistentContext(told.profile, {
  executablePath: told.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP *.apps.localhost 127.0.0.1"],
  ignoreHTTPSErrors: true,
  viewport: { width: 1280, height: 1000 },
});
// Somebody else, who is let in elsewhere.
const browser = await chromium.launch({
  executablePath: told.chromium,
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP *.apps.localhost 127.0.0.1"],
});
const theirs = await browser.newContext({ ignoreHTTPSErrors: true });
const somebody = await theirs.newPage();
seen.others = { own: (await somebody.goto(told.others)).status() };

// Pages of others, first: a code is good for a minute.
const visit = async (url) => {
  const other = await context.newPage();
  await other.goto(url);
  return other;
};
const [sibling, api] = [await visit(told.sibling), await visit(told.api)];
const page = await context.newPage();
page.setDefaultTimeout(60_000);
page.on("response", (response) => response.status() >= 400 && seen.failed.push(`${response.status()} ${new URL(response.url()).pathname}`));
page.on("pageerror", (error) => seen.errors.push(String(error)));

await page.goto(told.way_in);
await page.waitForLoadState("domcontentloaded");
seen.url = page.url();
seen.referrer = await page.evaluate(() => document.referrer);
seen.script_sees = await page.evaluate(() => document.cookie);
const [cookie] = (await context.cookies(told.origin)).filter((cookie) => cookie.name.startsWith("__Host-alpine"));
seen.cookie = cookie && { secure: cookie.secure, http_only: cookie.httpOnly, same_site: cookie.sameSite, path: cookie.path };
// The page draws itself with what it asks its own server for.
await page.waitForFunction(() => document.body.innerText.trim().length > 20);
seen.health = await page.evaluate(async () => (await fetch("/global/health")).json());

// No script of the session's sees what is asked of its host, codes of later visits among it.
seen.worker = await page.evaluate(() => navigator.serviceWorker.register("/sw.js").then(() => "registered", () => "refused"));

// Both stay open for as long as it was told, and something comes on both all the while.
seen.alive = await page.evaluate(async (seconds) => {
  const events = new EventSource("/event");
  const told = { events: 0, sse_errors: 0, echoes: 0, ws_closed: 0 };
  events.onmessage = () => told.events++;
  events.onerror = () => told.sse_errors++;
  const post = { method: "POST", headers: { "content-type": "application/json" } };
  const pty = await (await fetch("/pty", { ...post, body: JSON.stringify({ command: "/bin/cat" }) })).json();
  const socket = new WebSocket(`wss://${location.host}/pty/${pty.id}/connect`);
  socket.binaryType = "arraybuffer";
  socket.onmessage = () => told.echoes++;
  socket.onclose = () => told.ws_closed++;
  await new Promise((opened, failed) => ((socket.onopen = opened), (socket.onerror = failed)));
  const rounds = Math.ceil(seconds / 5);
  told.quiet_rounds = 0;
  for (let round = 0; round < rounds; round++) {
    const before = told.echoes;
    socket.send(`round ${round}\r`);
    await new Promise((done) => setTimeout(done, 5000));
    if (told.echoes === before) told.quiet_rounds++;
    // Something happens that the stream of events tells of.
    await fetch("/session", { ...post, body: "{}" });
  }
  await new Promise((done) => setTimeout(done, 500));
  return { ...told, rounds, sse_open: events.readyState === 1, ws_open: socket.readyState === 1 };
}, told.seconds);
await page.screenshot({ path: told.shot });

// From pages of other origins: what comes with the cookie is refused, and what comes without it is nobody's.
const tries = async (other) => {
  const statuses = [];
  other.on("response", (response) => response.url().startsWith(told.origin) && statuses.push(response.status()));
  const outcome = await other.evaluate(async (target) => {
    const asked = async (init) => fetch(`${target}/global/health`, { credentials: "include", ...init }).then((a) => a.type, () => "refused");
    const framed = new Promise((done) => {
      const frame = Object.assign(document.createElement("iframe"), { src: `${target}/` });
      frame.onload = done;
      document.body.append(frame);
    });
    const socket = new Promise((done) => {
      const socket = new WebSocket(target.replace("https:", "wss:") + "/pty/x/connect");
      socket.onopen = () => done("open");
      socket.onerror = () => done("refused");
    });
    const outcome = [await asked({}), await asked({ mode: "no-cors" }), await asked({ mode: "no-cors", method: "POST", body: "x" }), await socket];
    await framed;
    return outcome;
  }, told.origin);
  await other.close();
  return { outcome, statuses: [...new Set(statuses)].sort() };
};
seen.from_sibling = await tries(sibling);
seen.from_api = await tries(api);
await context.close();

seen.others.this_one = (await somebody.goto(`${told.origin}/`)).status();
const [their] = (await theirs.cookies(told.others)).filter((cookie) => cookie.name.startsWith("__Host-alpine"));
await theirs.addCookies([{ name: their.name, value: their.value, url: `${told.origin}/` }]);
seen.others.with_their_cookie = (await somebody.goto(`${told.origin}/`)).status();
seen.others.own_still = (await somebody.goto(new URL("/", told.others).href)).status();

const stranger = await browser.newPage({ ignoreHTTPSErrors: true });
seen.stranger = (await stranger.goto(`${told.origin}/`)).status();
seen.spent = (await stranger.goto(told.way_in)).status();
await browser.close();
console.log(JSON.stringify(seen));
