// The network changes in mid-call: what is on the signalling link may go, and a path may die.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, WatchedTown } from "./town.js";

/** @type {WatchedTown} */
let town;
before(async () => (town = await WatchedTown.build()), { timeout: 120_000 });
after(() => town?.end());

const LIMIT = { timeout: 120_000 };

/** Two browsers in a call that both hear. */
async function talk(options = {}) {
  const [alice, bob] = [await town.phone("Alice", { options }), await town.phone("Bob", { options })];
  const hear = () => until(() => (call.media.quality?.levelIn ?? 0) > 0.01, "sound");
  await connect(alice, bob);
  await Promise.all([alice.evaluate(hear), bob.evaluate(hear)]);
  return [alice, bob];
}

const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));
const ended = (page) => page.evaluate(() => until(() => call.state === "ended", "end").then(() => call.reason));

test("WS-23: the links are cut in mid-call; sound goes on, and both come back to hold, resume and hang up", LIMIT, async () => {
  const [alice, bob] = await talk();
  const before = await bob.evaluate(() => events.length);
  town.proxy.cut();
  for (const page of [alice, bob]) {
    await page.evaluate((before) => until(() => events.slice(before).some(({ type, presence }) => type === "presence" && presence.state === "offline"), "offline"), before);
    assert.equal(await page.evaluate(() => call.state), "talking");
  }
  for (const page of [alice, bob]) await page.evaluate(() => until(() => phone.presence.state === "online", "online"));
  await alice.evaluate(() => call.hold(true));
  await bob.evaluate(() => until(() => call.heldByPeer, "hold"));
  await alice.evaluate(() => call.hold(false));
  await bob.evaluate(() => until(() => call.media.audio === "sendrecv" && (call.media.quality?.levelIn ?? 0) > 0.01, "sound again"));
  await alice.evaluate(() => call.hangUp());
  assert.equal(await ended(bob), "user.hangup");
  await close(alice, bob);
});

test("WEB-89: the only path dies; it is shown at once, and the call ends as failed", LIMIT, async () => {
  const [alice, bob] = await talk({ iceTransportPolicy: "relay" });
  // The node relays: with it go the path and every link.
  await town.node.stop();
  await Promise.all([alice, bob].map((page) => page.evaluate(() => until(() => call.state === "interrupted" || call.state === "ended", "interruption"))));
  await town.startNode();
  assert.deepEqual(await Promise.all([ended(alice), ended(bob)]), ["media.failed", "media.failed"]);
  assert.equal(await alice.evaluate(() => call.missed), false);
  for (const page of [alice, bob]) await page.evaluate(() => until(() => phone.presence.state === "online", "online"));
  await close(alice, bob);
});
