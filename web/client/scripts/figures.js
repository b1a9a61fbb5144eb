// What the page that a node serves costs its visitor, measured in Chromium; for docs/performance.md.
//   DSIP_BIN=… node scripts/figures.js

import { Town } from "../test/town.js";

/** Fast 3G and a mid-range phone, as Chromium's developer tools have them. */
const NETWORK = { offline: false, latency: 562.5, downloadThroughput: (1.6 * 1024 * 1024 * 0.9) / 8, uploadThroughput: (750 * 1024 * 0.9) / 8 };
const CPU = 4;
const RUNS = 3;

const median = (numbers) => numbers.toSorted((one, other) => one - other)[numbers.length >> 1];
const town = await Town.build();
const origin = town.address.replace("wss:", "https:").replace(/\/dsip$/, "");

async function visit(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", NETWORK);
  await session.send("Emulation.setCPUThrottlingRate", { rate: CPU });
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await page.goto(origin, { waitUntil: "commit" });
  // Interactive: something to press is on the page, and a task put at the end of the queue has run.
  await page.waitForFunction(() => document.querySelector("button:not([disabled]), input:not([disabled])") !== null, undefined, { polling: "raf" });
  const interactive = await page.evaluate(() => new Promise((resolve) => setTimeout(() => resolve(performance.now()))));
  const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0);
  await page.waitForLoadState("networkidle");
  return { interactive, painted, bytes };
}

const visits = { first: [], again: [] };
for (let run = 0; run < RUNS; run++) {
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  visits.first.push(await visit(page));
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await page.close();
  visits.again.push(await visit(await context.newPage()));
  await context.close();
}
for (const [name, all] of Object.entries(visits)) {
  const figure = (member) => Math.round(median(all.map((one) => one[member])));
  console.log(`${name} visit: interactive ${figure("interactive")} ms, first paint ${figure("painted")} ms, ${(figure("bytes") / 1024).toFixed(0)} KiB over the network`);
}

// A call, set up and answered: the longest tasks of both pages, and what goes over the caller's connections until it rings.
const sent = [];
const callers = await town.browser.newContext({ ignoreHTTPSErrors: true });
await callers.grantPermissions(["microphone", "camera"]);
await callers.routeWebSocket(/./, (route) => {
  const server = route.connectToServer();
  const type = (frame) => JSON.parse(Buffer.from(JSON.parse(frame).payload, "base64url").toString()).type;
  route.onMessage((frame) => {
    sent.push(`→ ${type(frame)}`);
    server.send(frame);
  });
  server.onMessage((frame) => {
    sent.push(`← ${type(frame)}`);
    route.send(frame);
  });
});
const alice = await town.tab(callers, "Alice", { policy: { firstContact: false } });
const bob = await town.phone("Bob");
for (const page of [alice, bob]) {
  await page.evaluate(() => {
    globalThis.tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
}
const link = await bob.evaluate(() => phone.myLink());
sent.length = 0;
const ringing = alice.evaluate(async (link) => {
  const began = performance.now();
  globalThis.call = await phone.call(await phone.locate(link));
  await until(() => call.state === "ringing", "ringing");
  return performance.now() - began;
}, link);
await bob.evaluate(() => until(() => phone.calls[0], "call").then((call) => (globalThis.call = call)));
const took = await ringing;
console.log(`press to ring: ${Math.round(took)} ms on loopback; ${sent.join(", ")}`);
await bob.evaluate(() => call.accept());
for (const page of [alice, bob]) await page.evaluate(() => until(() => call.state === "talking", "media"));
for (const [name, page] of [["caller", alice], ["callee", bob]]) {
  const tasks = await page.evaluate(() => tasks.map(Math.round));
  console.log(`${name}: ${tasks.length} tasks over 50 ms${tasks.length === 0 ? "" : `: ${tasks.join(", ")} ms`}`);
}
await alice.evaluate(() => call.hangUp());
const sealing = await alice.evaluate(async () => {
  tasks.length = 0;
  await home.exportBackup("correct horse battery staple");
  await until(() => tasks.length > 0, "a long task");
  return Math.round(Math.max(...tasks));
});
console.log(`a backup, which derives a key from a passphrase, holds the page for ${sealing} ms`);
await town.end();
