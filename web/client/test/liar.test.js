// A node that lies, and a network that goes away. The node is a real one; between it and one page sits somebody who reads, changes,
// repeats and makes up what goes over the connection, as whoever runs a node can.

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

/**
 * Somebody's phone, whose node lies. `lie(frame, payload)` gives what the page is to hear instead of each frame; nothing is what the node
 * said. `connections` can be cut; `dialled` is wherever the page went.
 */
async function deceived(name, lie, options = {}) {
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  await context.grantPermissions(["microphone", "camera"]);
  const [connections, dialled] = [[], []];
  await context.routeWebSocket(/./, (route) => {
    dialled.push(route.url());
    const server = route.connectToServer();
    connections.push({ route, server });
    route.onMessage((frame) => server.send(frame));
    server.onMessage((frame) => {
      for (const instead of lie(frame, read(frame)) ?? [frame]) route.send(instead);
    });
  });
  const page = await town.tab(context, name, { policy: { firstContact: false }, options });
  return { page, connections, dialled };
}

test("PIP: what a node changes, repeats or makes up does not ring; what was signed does", LIMIT, async () => {
  let invites = 0;
  const lie = (frame, { type }) => {
    if (type !== "invite") return undefined;
    invites++;
    const { signature, ...rest } = JSON.parse(frame);
    return [
      "",
      "rubbish",
      "a.b.c",
      "<img src=x onerror=alert(1)>",
      JSON.stringify({ type: "invite" }),
      changed(frame, (payload) => (payload.from = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf")),
      changed(frame, (payload) => (payload.id = `01${payload.id.slice(2).split("").reverse().join("")}`)),
      JSON.stringify({ ...rest, signature: signature.split("").reverse().join("") }),
      JSON.stringify(rest),
      frame,
      frame,
      frame,
    ];
  };
  const { page: bob } = await deceived("Bob", lie);
  const alice = await town.phone("Alice");
  const link = await bob.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    const call = await phone.call(await phone.locate(link));
    await until(() => call.state === "ended", "end");
    return call.reason;
  }, link);
  // Frames are read in order: when the genuine one rings, the others have been judged.
  const rang = await bob.evaluate(async () => {
    const call = await until(() => phone.calls[0], "call");
    await call.decline();
    return { from: call.identity, all: events.filter(({ type }) => type === "incoming").length };
  });
  assert.equal(await placed, "user.declined");
  assert.equal(rang.from, await alice.evaluate(() => phone.identity));
  // A second call, in front of which the same is said again.
  await alice.evaluate(async (link) => void (await phone.call(await phone.locate(link))), link);
  await bob.evaluate(() => until(() => phone.calls.find(({ state }) => state !== "ended"), "second call").then((call) => call.decline()));
  assert.equal(invites, 2);
  assert.equal(await bob.evaluate(() => events.filter(({ type }) => type === "incoming").length), 2);
  await close(alice, bob);
});

test("WS-12: a frame over the cap ends the connection; the phone comes back, and rings", LIMIT, async () => {
  let cuts = 0;
  const lie = (frame, { type }) => (type === "invite" && cuts++ === 0 ? ["\u{20ac}".repeat(22_000), frame] : undefined);
  const { page: bob, connections } = await deceived("Bob", lie);
  const alice = await town.phone("Alice");
  const link = await bob.evaluate(() => phone.myLink());
  await alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
  }, link);
  await bob.evaluate(() => until(() => events.filter(({ type, presence }) => type === "presence" && presence.state === "online").length > 1, "return"));
  assert.equal(connections.length, 2);
  assert.equal(await bob.evaluate(() => phone.calls.length), 0, "what came after it on that connection was not read");
  const placed = alice.evaluate(async (link) => {
    await globalThis.call.hangUp();
    const again = await phone.call(await phone.locate(link));
    await until(() => again.state === "ended", "end");
    return again.reason;
  }, link);
  await bob.evaluate(() => until(() => phone.calls.find(({ state }) => state !== "ended"), "call").then((call) => call.decline()));
  assert.equal(await placed, "user.declined");
  await close(alice, bob);
});

test("PTY: an answer that somebody else signed, or that was changed, connects nobody", LIMIT, async () => {
  let foreign;
  let lies = 0;
  const lie = (frame, { type }) => {
    if (type !== "answer") return undefined;
    if (foreign === undefined) return void (foreign = frame);
    lies++;
    return [foreign, changed(foreign, (payload) => (payload.session = read(frame).session)), changed(frame, (payload) => (payload.from = read(foreign).from))];
  };
  const { page: alice, dialled } = await deceived("Alice", lie);
  const [mallory, bob] = [await town.phone("Mallory"), await town.phone("Bob")];
  const call = (link) =>
    alice.evaluate(async (link) => {
      globalThis.call = await phone.call(await phone.locate(link));
    }, link);
  const take = (page) => page.evaluate(() => until(() => phone.calls.find(({ state }) => state !== "ended"), "call").then((call) => call.accept()));
  await call(await mallory.evaluate(() => phone.myLink()));
  await take(mallory);
  await alice.evaluate(() => until(() => globalThis.call.state === "talking", "media"));
  await alice.evaluate(() => globalThis.call.hangUp());
  await call(await bob.evaluate(() => phone.myLink()));
  await take(bob);
  const refused = await alice.evaluate(async () => {
    const refusals = () => events.filter(({ type }) => type === "security");
    await until(() => refusals().length >= 3, "refusals");
    return refusals().map(({ detail }) => /\((.*)\)/.exec(detail)?.[1]);
  });
  assert.deepEqual(refused, ["duplicate-id", "signature-invalid", "signature-invalid"]);
  assert.equal(await alice.evaluate(() => globalThis.call.state), "ringing", "it rings on");
  await alice.evaluate(() => globalThis.call.hangUp());
  assert.equal(lies, 1);
  const seen = await alice.evaluate(() => ({ answered: events.filter(({ type }) => type === "answered").length, by: globalThis.call.answeredBy, at: globalThis.call.answeredAt }));
  assert.deepEqual(seen, { answered: 1, by: undefined, at: undefined }, "only Mallory's own answer counted, for her own call");
  assert.deepEqual([...new Set(dialled)], [town.address], "it went nowhere else");
  await close(alice, mallory, bob);
});

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
  const { page, dialled } = await deceived("Alice", () => undefined);
  const mallory = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";
  await page.context().route(/\/dsip\/v1\/alias\//, (route) => route.fulfill({ json: { alias: "bob@nowhere.invalid", did: mallory, by: "dns" } }));
  const located = await page.evaluate(() => phone.locate("bob@nowhere.invalid"));
  assert.equal(located.did, mallory);
  assert.equal(located.aliasBy, "node");
  await page.context().route("https://nowhere.invalid/.well-known/webfinger**", (route) =>
    route.fulfill({ json: { subject: "acct:bob@nowhere.invalid", links: [{ rel: "https://dsip.org/rel/did", href: mallory }] }, headers: { "access-control-allow-origin": "*" } }),
  );
  assert.equal((await page.evaluate(() => phone.locate("bob@nowhere.invalid"))).aliasBy, "domain");
  assert.deepEqual([...new Set(dialled)], [town.address]);
  await close(page);
});

test("the network goes away in mid-call and comes back: the call goes on, and can be ended", LIMIT, async () => {
  const { page: alice, connections } = await deceived("Alice", () => undefined);
  const bob = await town.phone("Bob");
  const link = await bob.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    play(call);
    await until(() => call.state === "talking", "media");
  }, link);
  await bob.evaluate(async () => {
    globalThis.call = await until(() => phone.calls[0], "call");
    await call.accept();
    play(call);
    await until(() => call.state === "talking", "media");
  });
  await placed;
  const before = connections.length;
  await alice.context().setOffline(true);
  for (const { route, server } of connections) {
    await route.close();
    await server.close();
  }
  await alice.evaluate(() => until(() => phone.presence.state !== "online", "loss of the node"));
  assert.equal(await alice.evaluate(() => call.state), "talking", "sound does not go through the node");
  await alice.context().setOffline(false);
  await alice.evaluate(() => until(() => phone.presence.state === "online", "node"));
  assert.ok(connections.length > before);
  // Sound flows still, and signals arrive over the new connection.
  for (const page of [alice, bob]) await page.evaluate(() => until(() => call.media.quality?.levelIn > 0.01, "sound"));
  await alice.evaluate(() => call.hangUp());
  await bob.evaluate(() => until(() => call.state === "ended", "end"));
  assert.equal(await bob.evaluate(() => call.reason), "user.hangup");
  await close(alice, bob);
});

test("WEB-89: when the only path is gone for good, both ends say so", LIMIT, async () => {
  const options = { iceTransportPolicy: "relay" };
  const [alice, bob] = [await town.phone("Alice", { options }), await town.phone("Bob", { options })];
  const link = await bob.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    play(call);
    await until(() => call.state === "talking", "media");
  }, link);
  await bob.evaluate(async () => {
    globalThis.call = await until(() => phone.calls[0], "call");
    await call.accept();
    play(call);
  });
  await placed;
  await town.node.stop();
  for (const page of [alice, bob]) {
    await page.evaluate(() => until(() => call.state === "ended", "end"));
    assert.equal(await page.evaluate(() => call.reason), "media.failed");
  }
  await town.startNode();
  await close(alice, bob);
});
