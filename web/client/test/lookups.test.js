// Look-ups through a node that lies about what it found.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Town } from "./town.js";

const LIMIT = { timeout: 120_000 };
/** @type {Town} */
let town;
before(async () => (town = await Town.build()), LIMIT);
after(() => town?.end());

const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));

/** The payload of an envelope. */
function read(frame) {
  return JSON.parse(Buffer.from(JSON.parse(frame).payload, "base64url").toString());
}

/** The same envelope with another payload, under the signature of the first. */
function changed(frame, change) {
  const payload = read(frame);
  change(payload);
  return JSON.stringify({ ...JSON.parse(frame), payload: Buffer.from(JSON.stringify(payload)).toString("base64url") });
}

test("DHT-28: records that a node makes up say nothing; those that their subject signed do", LIMIT, async () => {
  await town.identity("Dora");
  const dora = town.terminal("Dora", "answer", "--auto", "decline", "--publish", "--dht", town.dht);
  const { did } = await dora.until("waiting");
  await dora.until("published");
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  const page = await town.tab(context, "Alice", {});
  const places = () => page.evaluate(async (did) => (await phone.locate(did)).places.map(({ source }) => source), did);
  assert.deepEqual(await places(), ["dht"], "the node hands out what Dora signed");
  let asked = 0;
  await context.route(/\/dsip\/v1\/records\//, async (route) => {
    asked++;
    const answer = await (await route.fetch()).json();
    const to = (payload) => (payload.endpoints = [{ ...payload.endpoints[0], uri: "wss://mallory.example/dsip" }]);
    await route.fulfill({ json: { ...answer, records: answer.records.map((record) => changed(record, to)) } });
  });
  assert.deepEqual(await places(), [], "and what somebody changed is worth nothing");
  assert.equal(asked, 1, "the changed answer was read");
  await dora.stop();
  await close(page);
});

test("WPH-35: whose alias it is by the word of the node alone is told, and calls nobody by itself", LIMIT, async () => {
  const page = await town.phone("Alice");
  const dialled = [];
  page.on("websocket", (socket) => dialled.push(socket.url()));
  const mallory = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";
  await page.context().route(/\/dsip\/v1\/alias\//, (route) => route.fulfill({ json: { alias: "bob@nowhere.invalid", did: mallory, by: "dns" } }));
  const located = await page.evaluate(() => phone.locate("bob@nowhere.invalid"));
  assert.equal(located.did, mallory);
  assert.equal(located.aliasBy, "node");
  await page.context().route("https://nowhere.invalid/.well-known/webfinger**", (route) =>
    route.fulfill({ json: { subject: "acct:bob@nowhere.invalid", links: [{ rel: "https://dsip.org/rel/did", href: mallory }] }, headers: { "access-control-allow-origin": "*" } }),
  );
  assert.equal((await page.evaluate(() => phone.locate("bob@nowhere.invalid"))).aliasBy, "domain");
  assert.deepEqual(dialled, []);
  await close(page);
});
