// Calls that people make: browser to browser, browser to terminal and back, with sound and pictures measured where they arrive.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { join } from "node:path";
import { Town, loudness } from "./town.js";

/** @type {Town} */
let town;
before(async () => (town = await Town.build()), { timeout: 120_000 });
after(() => town?.end());

/** Calls `link` from `page`, and waits until media flow. */
const call = (page, link, media = {}) =>
  page.evaluate(
    async ({ link, media }) => {
      globalThis.call = await phone.call(await phone.locate(link), media);
      await until(() => call.state === "talking" || call.state === "ended", "media");
      return { state: call.state, reason: call.reason, party: call.party };
    },
    { link, media },
  );

/** Waits for a call and answers it. */
const answer = (page, media = {}) =>
  page.evaluate(async (media) => {
    globalThis.call = await until(() => phone.calls.find(({ state }) => state === "incoming"), "call");
    const { party } = call;
    await call.accept(media);
    await until(() => call.state === "talking" || call.state === "ended", "media");
    return { state: call.state, reason: call.reason, party };
  }, media);

/** Waits until this end hears something. */
const heard = (page) =>
  page.evaluate(async () => {
    await until(() => (call.media.quality?.levelIn ?? 0) > 0.01, "sound");
    return call.media.quality;
  });

const ended = (page) => page.evaluate(() => until(() => call.state === "ended", "end").then(() => call.reason));

test("browser to browser: sound and pictures flow both ways", { timeout: 120_000 }, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const link = await bob.evaluate(() => phone.myLink());
  const [placed, taken] = await Promise.all([call(alice, link, { video: true }), answer(bob, { video: true })]);
  assert.equal(placed.state, "talking", JSON.stringify(placed));
  assert.equal(taken.state, "talking", JSON.stringify(taken));
  assert.equal(taken.party.claimedName, "Alice");
  assert.equal(placed.party.identity, await bob.evaluate(() => phone.identity));
  for (const page of [alice, bob]) {
    const quality = await heard(page);
    assert.ok(quality.levelIn > 0.01, JSON.stringify(quality));
    const frames = await page.evaluate(() => until(() => (call.media.quality?.video?.framesDecoded ?? 0) > 10 && call.media.quality.video, "pictures"));
    assert.ok(frames.width > 0 && frames.framesDecoded > 10);
    assert.equal(await page.evaluate(() => call.media.video), "sendrecv");
    assert.match(await page.evaluate(() => call.security.remoteFingerprint), /^sha-256 /);
  }
  await alice.evaluate(() => call.hangUp());
  assert.equal(await ended(bob), "user.hangup");
  const [line] = await bob.evaluate(() => until(async () => true, "").then(() => phone.history()));
  assert.equal(line.direction, "incoming");
  assert.equal(line.missed, false);
  await Promise.all([alice.context().close(), bob.context().close()]);
});

test("browser to terminal: a browser that offers video is heard, and hears", { timeout: 120_000 }, async () => {
  await town.identity("Carol");
  const wav = join(town.dir, "carol.wav");
  const carol = town.terminal("Carol", "answer", "--auto", "accept", "--audio-in", "tone:440", "--audio-out", wav, "--once");
  await carol.until("ready");
  const alice = await town.phone("Alice");
  const { did } = carol.told.find((told) => told.did) ?? (await town.whoIs("Carol"));
  const placed = await call(alice, `dsip:${did}?node=${encodeURIComponent(town.address)}`, { video: true });
  assert.equal(placed.state, "talking", JSON.stringify(placed));
  const quality = await heard(alice);
  assert.ok(quality.levelIn > 0.01);
  assert.notEqual(await alice.evaluate(() => call.media.video), "sendrecv", "a terminal shows no pictures");
  await alice.evaluate(() => new Promise((resolve) => setTimeout(resolve, 3000)));
  await alice.evaluate(() => call.hangUp());
  await carol.ended;
  const { rms, seconds } = loudness(wav);
  assert.ok(seconds > 1 && rms > 0.005, `${rms} over ${seconds} s`);
  await alice.context().close();
});

test("terminal to browser", { timeout: 120_000 }, async () => {
  await town.identity("Dave");
  const wav = join(town.dir, "dave.wav");
  const bob = await town.phone("Bob");
  const link = await bob.evaluate(() => phone.myLink());
  const dave = town.terminal("Dave", "call", link, "--audio-in", "tone:440", "--audio-out", wav, "--duration", "4");
  const taken = await answer(bob);
  assert.equal(taken.state, "talking", JSON.stringify(taken));
  assert.equal(taken.party.claimedName, "Dave");
  await heard(bob);
  await dave.ended;
  assert.equal(await ended(bob), "user.hangup");
  const { rms, seconds } = loudness(wav);
  assert.ok(seconds > 1 && rms > 0.005, `${rms} over ${seconds} s`);
  await bob.context().close();
});
