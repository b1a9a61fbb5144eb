// How fast the web phone is, as a node serves it: `npm run figures`, with DSIP_BIN naming the program. See docs/performance.md.
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { request as ask } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { chromium } from 'playwright-core';
import { Town } from '../client/test/town.js';
import { ARGS, DEVICES, YES } from './browser.mjs';
import { link } from './link.mjs';
import { serve } from './serve.mjs';
import { linkOf, openDoor, reachable } from './village.mjs';

/** Fast 3G and a processor a quarter as fast, as tools have them. */
const FAST_3G = { rtt: 150, down: 1_600_000, up: 750_000 };
const SLOW = 4;
const PERSON = { locale: 'en-GB', viewport: { width: 390, height: 844 } };
const ROUNDS = Number(process.env.ROUNDS ?? 5);
/** Round trips to a node, in milliseconds, between which press-to-ring is compared. */
const DISTANCES = [0, 100, 200, 300];

/**
 * A node, and browsers that get their page from it. With DIST they get that bundle's instead, at the node's address: for a page
 * that is not yet part of the program.
 */
class Served extends Town {
  async serve() {
    this.serves = this.port;
    if (process.env.DIST) {
      this.site = await serve(process.env.DIST);
      this.front = await front(this.certificate, this.site.origin, this.port);
      this.serves = this.front.address().port;
    }
    // A certificate that a browser merely puts up with would keep it from keeping anything.
    const key = new X509Certificate(readFileSync(this.certificate.cert)).publicKey.export({ type: 'spki', format: 'der' });
    this.trust = `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`;
    this.origin = `https://localhost:${this.port}`;
    this.links = [];
  }

  /** A way to the node. */
  async over(conditions) {
    const opened = await link(this.serves, conditions);
    this.links.push(opened);
    return opened;
  }

  /** How a browser gets to the node by a link and knows it by its own address. */
  by({ port }) {
    return {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [...ARGS, DEVICES, YES, this.trust, `--host-resolver-rules=MAP localhost:${this.port} 127.0.0.1:${port}`],
    };
  }

  /** Somebody's browser, with nothing in it, and with a disk. */
  async browserOf(over) {
    const context = await chromium.launchPersistentContext(mkdtempSync(join(this.dir, 'browser-')), { ...this.by(over), ...PERSON });
    await context.addInitScript(observe);
    return context;
  }

  async end() {
    for (const opened of this.links) opened.stop();
    this.front?.close();
    await this.site?.stop();
    await super.end();
  }
}

/** A page from one place and a node's WebSocket from another, as one server. */
async function front({ cert, key }, page, node) {
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
    const inner = ask(`${page}${request.url}`, { method: request.method, headers: request.headers }, (given) => {
      response.writeHead(given.statusCode, given.headers);
      given.pipe(response);
    });
    request.pipe(inner);
  });
  server.on('upgrade', ({ method, url, rawHeaders }, near) => {
    const far = connect({ port: node, host: '127.0.0.1', rejectUnauthorized: false });
    const lines = rawHeaders.map((text, i) => (i % 2 === 0 ? `${text}: ` : `${text}\r\n`)).join('');
    far.write(`${method} ${url} HTTP/1.1\r\n${lines}\r\n`);
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy());
    far.on('error', () => near.destroy());
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return server;
}

/** In the page, before anything of it: notes when things first show, what kept the page busy, and what was pressed. */
function observe() {
  const SIGNS = { field: 'input[autocomplete="name"]', reachable: '.dot--on', rings: '.round--answer', talks: '[role="timer"]' };
  globalThis.first = {};
  globalThis.busy = [];
  globalThis.pressed = [];
  const look = () => {
    for (const [name, selector] of Object.entries(SIGNS)) {
      if (globalThis.first[name] === undefined && document.querySelector(selector)) globalThis.first[name] = performance.now();
    }
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
  addEventListener('click', ({ timeStamp }) => globalThis.pressed.push(timeStamp), { capture: true });
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) globalThis.busy.push({ from: startTime, for: duration });
  }).observe({ type: 'longtask', buffered: true });
  if (PerformanceObserver.supportedEntryTypes.includes('long-animation-frame')) {
    globalThis.frames = [];
    new PerformanceObserver((list) => {
      for (const { startTime, duration, scripts } of list.getEntries()) {
        const by = scripts.map((script) => `${script.invoker} ${script.sourceFunctionName}@${script.sourceURL.split('/').pop()}:${script.sourceCharPosition} ${Math.round(script.duration)}`);
        globalThis.frames.push({ from: Math.round(startTime), for: Math.round(duration), by });
      }
    }).observe({ type: 'long-animation-frame', buffered: true });
  }
}

async function slow(page, rate) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Emulation.setCPUThrottlingRate', { rate });
}

/** What a page sends and gets from now on, in order: the types of the messages it sends, the addresses it asks for. */
async function listen(page) {
  const traffic = [];
  const devtools = await page.context().newCDPSession(page);
  const typeOf = (frame) => JSON.parse(Buffer.from(JSON.parse(frame).payload, 'base64url')).type;
  devtools.on('Network.requestWillBeSent', ({ request }) => traffic.push(request.url));
  devtools.on('Network.webSocketCreated', ({ url }) => traffic.push(url));
  devtools.on('Network.webSocketFrameReceived', () => traffic.push('got'));
  devtools.on('Network.webSocketFrameSent', ({ response }) => traffic.push(typeOf(response.payloadData)));
  await devtools.send('Network.enable');
  return traffic;
}

/** What Chromium emulates by itself: no handshakes, no WebSocket. */
async function emulate(page, { rtt, down, up }) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Network.enable');
  await devtools.send('Network.emulateNetworkConditions', { offline: false, latency: rtt, downloadThroughput: down / 8, uploadThroughput: up / 8 });
}

const longest = (busy, from = 0, until = Infinity) =>
  Math.max(0, ...busy.filter((task) => task.from + task.for > from && task.from < until).map((task) => task.for));

/** What a page noted, and what its browser did. */
const noted = (page) =>
  page.evaluate(() => {
    const { first, busy, frames, pressed } = globalThis;
    const paint = performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
    const files = performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'));
    const loaded = files.map(({ name, startTime, responseEnd, transferSize, encodedBodySize }) => ({ name: name.split('/').pop(), startTime, responseEnd, transferSize, encodedBodySize }));
    return { first, busy, frames, pressed, paint, loaded, origin: performance.timeOrigin };
  });

/** One first visit and one more, of a new person. */
async function visits(town, { emulated }) {
  const over = await town.over(emulated ? {} : FAST_3G);
  const context = await town.browserOf(over);
  const visit = async () => {
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    await slow(page, SLOW);
    if (emulated) await emulate(page, FAST_3G);
    const before = over.bytes;
    await page.goto(`${town.origin}/`, { waitUntil: 'commit' });
    return { page, before };
  };
  const { page, before } = await visit();
  const field = page.getByLabel('Your name');
  await field.fill('Ann');
  await field.press('Enter');
  await page.waitForFunction(() => globalThis.first.reachable !== undefined);
  const usable = over.bytes - before;
  await page.evaluate(() => navigator.serviceWorker.ready.then(({ active }) => active.state));
  const cold = { ...(await noted(page)), usable, whole: over.bytes - before };
  await page.close();
  const again = await visit();
  await again.page.waitForFunction(() => globalThis.first.reachable !== undefined);
  const warm = { ...(await noted(again.page)), usable: over.bytes - again.before };
  await context.close();
  over.stop();
  return { cold, warm };
}

/** One call between two people: when the press was, when it rang, was answered, and both talked. */
async function call(town, { rtt, rate }) {
  const over = await town.over({ rtt });
  // One browser, since two do not know each other's names for local addresses (mDNS).
  const browser = await chromium.launch(town.by(over));
  const people = [];
  for (const name of ['Ann', 'Bob']) {
    const context = await browser.newContext(PERSON);
    await context.addInitScript(observe);
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    await page.goto(`${town.origin}/`);
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Start' }).click();
    await reachable(page);
    people.push(page);
  }
  const [ann, bob] = people;
  await openDoor(bob);
  const to = await linkOf(bob);
  for (const page of people) await slow(page, rate);
  await ann.getByLabel('Who do you want to call?').fill(to);
  await ann.keyboard.press('Enter');
  const button = ann.getByRole('main').getByRole('button', { name: 'Call', exact: true });
  await button.waitFor();
  const traffic = await listen(ann);
  await button.click();
  const answer = bob.getByRole('button', { name: 'Answer', exact: true });
  await answer.click();
  for (const page of people) await page.waitForFunction(() => globalThis.first.talks !== undefined);
  const [a, b] = await Promise.all(people.map(noted));
  await browser.close();
  over.stop();
  const [press, accept] = [a.origin + a.pressed.at(-1), b.origin + b.pressed.at(-1)];
  const rings = b.origin + b.first.rings;
  const talks = [a.origin + a.first.talks, b.origin + b.first.talks];
  return {
    ring: rings - press,
    /** What the caller asked or was told between the press and the invite; each may be a round trip. */
    before: traffic.indexOf('invite'),
    talk: talks.map((at) => at - accept),
    caller: longest(a.busy, a.pressed.at(-1), a.first.talks),
    callee: longest(b.busy, press - b.origin, b.first.talks),
    frames: [a, b].map(({ frames }, i) => frames.filter((frame) => frame.from + frame.for > (i ? press - b.origin : a.pressed.at(-1)))),
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const least = (rounds, of) => Math.min(...rounds.map(of));
/** What others do on the machine only ever adds: the least is the figure, the median says how much that was. */
const spread = (rounds, of) => `${Math.round(least(rounds, of))} (${Math.round(median(rounds.map(of)))})`;
const KiB = (bytes) => `${(bytes / 1_024).toFixed(0)} KiB`;

/** The slope of the line that fits best. */
function slope(points) {
  const [x, y] = [0, 1].map((i) => points.reduce((sum, point) => sum + point[i], 0) / points.length);
  return points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0) / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}

const town = await Served.build();
const wanted = process.argv.slice(2);
const asked = (name) => wanted.length === 0 || wanted.includes(name);
try {
  if (asked('visits')) {
    for (const emulated of [true, false]) {
      const rounds = [];
      for (let i = 0; i < ROUNDS; i++) rounds.push(await visits(town, { emulated }));
      console.log(`\n# Visits, ${emulated ? 'network emulated by Chromium' : 'over a link, handshakes included'}; ms, least of ${ROUNDS} (median)`);
      for (const which of ['cold', 'warm']) {
        const each = rounds.map((round) => round[which]);
        if (process.env.VERBOSE) console.log(JSON.stringify(each.at(-1), null, 1));
        console.log(`${which}: first contentful paint ${spread(each, ({ paint }) => paint)}`);
        if (which === 'cold') {
          console.log(`  the field can be typed in ${spread(each, ({ first, busy }) => Math.max(first.field, ...busy.filter(({ from }) => from <= first.field).map((task) => task.from + task.for)))}`);
          console.log(`  longest task until then ${spread(each, ({ busy, first }) => longest(busy, 0, first.field))}, later ${spread(each, ({ busy, first }) => longest(busy, first.field))}`);
          console.log(`  WebAssembly there ${spread(each, ({ loaded }) => loaded.find(({ name }) => name.endsWith('.wasm')).responseEnd)}`);
          console.log(`  bytes of script and WebAssembly ${KiB(median(each.map(({ loaded }) => loaded.filter(({ name }) => /\.(js|wasm)$/.test(name)).reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0))))}`);
          console.log(`  with the worker's copy for offline use ${KiB(median(each.map(({ whole }) => whole)))}`);
        } else {
          console.log(`  longest task ${spread(each, ({ busy }) => longest(busy))}`);
        }
        console.log(`  reachable ${spread(each, ({ first }) => first.reachable)}; bytes on the wire until then ${KiB(median(each.map(({ usable }) => usable)))}`);
      }
    }
  }
  if (asked('calls')) {
    for (const rate of [1, SLOW]) {
      const rounds = [];
      for (let i = 0; i < ROUNDS; i++) rounds.push(await call(town, { rtt: 0, rate }));
      if (process.env.VERBOSE) console.log(JSON.stringify(rounds.at(-1).frames, null, 1));
      console.log(`\n# A call, processor ${rate === 1 ? 'as it is' : `${rate} times slower`}; ms, least of ${ROUNDS} (median)`);
      console.log(`press to ring ${spread(rounds, ({ ring }) => ring)}; asked or heard before the invite left: ${Math.max(...rounds.map(({ before }) => before))}`);
      console.log(`answer to talking: caller ${spread(rounds, ({ talk }) => talk[0])}, callee ${spread(rounds, ({ talk }) => talk[1])}`);
      console.log(`longest task: caller ${spread(rounds, ({ caller }) => caller)}, callee ${spread(rounds, ({ callee }) => callee)}`);
    }
  }
  if (asked('trips')) {
    const points = [];
    for (let i = 0; i < ROUNDS; i++) for (const rtt of DISTANCES) points.push([rtt, await call(town, { rtt, rate: 1 })]);
    console.log(`\n# Round trips to the node, as the slope of the fastest of ${ROUNDS} calls each over the time to it`);
    const at = (rtt, of) => points.filter(([where]) => where === rtt).map(([, each]) => of(each));
    for (const [name, of] of [
      ['press to ring', ({ ring }) => ring],
      ['answer to talking, caller', ({ talk }) => talk[0]],
      ['answer to talking, callee', ({ talk }) => talk[1]],
    ]) {
      const fastest = DISTANCES.map((rtt) => [rtt, Math.min(...at(rtt, of))]);
      console.log(`${name}: ${slope(fastest).toFixed(2)} (${fastest.map(([rtt, took]) => `${rtt} ms: ${Math.round(took)}`).join(', ')})`);
    }
  }
} finally {
  await town.end();
}
