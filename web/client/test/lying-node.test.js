// A node that lies: it reads, alters, repeats, swaps and invents what goes through it. What others signed it cannot forge.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, beforeEach, test } from "node:test";
import { WatchedTown } from "./town.js";

/** @type {WatchedTown} */
let town;
let alice, bob, mallory;
/** Who each of them is: identity, device and link. */
let who;

before(
  async () => {
    town = await WatchedTown.build();
    alice = await town.phone("Alice");
    bob = await town.phone("Bob");
    mallory = await town.phone('<img src=x onerror="globalThis.broken = 1">');
    const say = (page) => page.evaluate(async () => ({ identity: phone.identity, device: phone.device, link: await phone.myLink() }));
    who = { alice: await say(alice), bob: await say(bob), mallory: await say(mallory) };
  },
  { timeout: 120_000 },
);
/** Invitations that never arrive: the node would deliver them later, as long as nobody acknowledges them. */
const lost = new Set();
const honest = ({ text, down, body }) => (down && lost.has(body?.id) ? [] : [text]);
beforeEach(() => (town.proxy.alter = honest));
after(() => town?.end());

const LIMIT = { timeout: 120_000 };

/** Calls `link` from `page`; `globalThis.call` is the call. */
const place = (page, { link }) =>
  page.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
  }, link);

/** Waits for a call that rings; `globalThis.call` is the call. */
const ring = (page) => page.evaluate(async () => (globalThis.call = await until(() => phone.calls.find(({ state }) => state === "incoming"), "call")).claimedName);
const ended = (page) => page.evaluate(() => until(() => call.state === "ended", "end").then(() => call.reason));
const incoming = (page) => page.evaluate(() => events.filter(({ type }) => type === "incoming").length);

/** A whole call: it rings at `callee`, who declines. Answers how often it rang there in all. */
async function declined(caller, callee, whom) {
  await place(caller, whom);
  await ring(callee);
  await callee.evaluate(() => call.decline());
  assert.equal(await ended(caller), "user.declined");
  return incoming(callee);
}

/** The frames that `alter` may replace: those of one type towards one device. */
const towards = ({ device }, type) => ({ link, down, body }) => down && link.device === device && body?.type === type;

/** Ways to alter an envelope so that its signature does not hold. `mallorys` is one that Mallory signed. */
function altered(text, mallorys) {
  const whole = JSON.parse(text);
  const plain = JSON.parse(Buffer.from(whole.payload, "base64url").toString());
  const header = JSON.parse(Buffer.from(whole.protected, "base64url").toString());
  const packed = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const flipped = whole.signature.startsWith("A") ? `B${whole.signature.slice(1)}` : `A${whole.signature.slice(1)}`;
  return [
    { ...whole, payload: packed({ ...plain, from: who.mallory.identity }) },
    { ...whole, payload: packed({ ...plain, expires_at: plain.expires_at + 1 }) },
    { ...whole, signature: flipped },
    { ...whole, signature: JSON.parse(mallorys).signature },
    { ...whole, protected: packed({ ...header, alg: "none" }), signature: "" },
    { ...whole, protected: JSON.parse(mallorys).protected },
  ].map((envelope) => JSON.stringify(envelope));
}

test("an envelope that was altered rings nowhere, and does not take the place of the true one", LIMIT, async () => {
  const before = await incoming(bob);
  const isInvite = towards(who.bob, "invite");
  const mallorys = town.proxy.seen.find(({ down, device }) => !down && device === who.mallory.device).text;
  let forged = 0;
  town.proxy.alter = (frame) => {
    if (!isInvite(frame)) return [frame.text];
    const lies = altered(frame.text, mallorys);
    forged += lies.length;
    return [...lies, frame.text];
  };
  assert.equal(await declined(alice, bob, who.bob), before + 1);
  assert.ok(forged >= 6);
  assert.equal(await bob.evaluate(() => call.party.identity), who.alice.identity);
  // Alone, they ring nowhere: the call after them is the next one that Bob sees.
  town.proxy.alter = (frame) => {
    if (!isInvite(frame)) return [frame.text];
    lost.add(frame.body.id);
    return altered(frame.text, mallorys);
  };
  await place(alice, who.bob);
  await bob.evaluate((told) => until(() => events.filter(({ type }) => type === "security").length >= told, "complaints"), forged + 6);
  await alice.evaluate(() => call.hangUp());
  await ended(alice);
  assert.equal(await incoming(bob), before + 1);
  town.proxy.alter = honest;
  assert.equal(await declined(mallory, bob, who.bob), before + 2);
});

test("what is sent again rings no second time", LIMIT, async () => {
  const before = await declined(alice, bob, who.bob);
  const isInvite = towards(who.bob, "invite");
  const old = town.proxy.seen.filter((frame) => isInvite(frame) && !lost.has(frame.body.id));
  assert.ok(old.length > 0);
  for (const { text } of old) town.proxy.link(who.bob.device).browser.send(text);
  // The next true call comes on the same link, behind them.
  assert.equal(await declined(alice, bob, who.bob), before + 1);
});

test("an invitation that is handed to somebody else rings nowhere, and their answer is nobody's", LIMIT, async () => {
  const before = await incoming(mallory);
  // A true answer of Mallory's, for a call that was meant for her.
  await place(alice, who.mallory);
  await ring(mallory);
  await mallory.evaluate(() => call.accept());
  await alice.evaluate(() => until(() => call.state === "talking", "media"));
  await alice.evaluate(() => call.hangUp());
  await ended(alice);
  const stolen = town.proxy.seen.findLast(towards(who.alice, "answer"));
  assert.equal(stolen?.device, who.mallory.device);
  const [isInvite, isAnswer] = [towards(who.bob, "invite"), towards(who.alice, "answer")];
  const handed = [];
  town.proxy.alter = (frame) => {
    if (isInvite(frame)) {
      handed.push(frame.text);
      town.proxy.link(who.mallory.device).browser.send(frame.text);
    }
    return isAnswer(frame) ? [stolen.text, frame.text] : [frame.text];
  };
  await place(alice, who.bob);
  await ring(bob);
  await bob.evaluate(() => call.accept());
  await alice.evaluate(() => until(() => call.state === "talking", "media"));
  assert.equal(await alice.evaluate(() => call.party.identity), who.bob.identity);
  assert.ok(handed.length > 0);
  const fingerprints = [alice, bob].map((page) => page.evaluate(() => [call.security.localFingerprint, call.security.remoteFingerprint]));
  const [[ours, theirs], [bobs, alices]] = await Promise.all(fingerprints);
  assert.deepEqual([ours, theirs], [alices, bobs], "media go to who signed the answer");
  await alice.evaluate(() => call.hangUp());
  await ended(bob);
  town.proxy.alter = honest;
  assert.equal(await declined(bob, mallory, who.mallory), before + 2, "her own two calls, and not Bob's");
});

test("another's answer in place of the true one is no answer", LIMIT, async () => {
  const stolen = town.proxy.seen.findLast(({ device, body }) => device === who.mallory.device && body?.type === "answer");
  const isAnswer = towards(who.alice, "answer");
  let swapped = 0;
  town.proxy.alter = (frame) => (isAnswer(frame) ? (swapped++, [stolen.text]) : [frame.text]);
  await place(alice, who.bob);
  await ring(bob);
  const told = await alice.evaluate(() => events.filter(({ type }) => type === "security").length);
  await bob.evaluate(() => call.accept());
  await alice.evaluate((told) => until(() => events.filter(({ type }) => type === "security").length > told, "complaint"), told);
  assert.ok(swapped > 0);
  assert.deepEqual(await alice.evaluate(() => [call.answeredAt, call.party]), [undefined, undefined]);
  // Bob answered, so that a cancellation comes too late for him.
  await Promise.all([alice, bob].map((page) => page.evaluate(() => call.hangUp())));
  await Promise.all([ended(alice), ended(bob)]);
});

test("garbage, a flood, and frames that are too large: it goes on, or comes back, and the next call rings", LIMIT, async () => {
  const garbage = ["", "\0", "{}", "[]", "null", "{", `${"[".repeat(30_000)}`, JSON.stringify({ protected: "e30", payload: "e30", signature: "" }), "x".repeat(65_537), "x".repeat(8_000_000), Buffer.from([0, 1, 2])];
  const before = await incoming(alice);
  for (const frame of garbage) {
    const link = await town.proxy.linked(who.alice.device);
    const answered = new AbortController();
    const { signal } = answered;
    link.browser.send(frame);
    // A browser answers a ping after what came before it.
    link.browser.ping();
    const closed = once(link.browser, "close", { signal });
    // WS-12, WS-14: these end the connection; of the others one after the other may be put up with.
    if (typeof frame !== "string" || frame.length > 65_536) await closed;
    else await Promise.race([closed, once(link.browser, "pong", { signal })]);
    closed.catch(() => {});
    answered.abort();
    await alice.evaluate(() => until(() => phone.presence.state === "online", "node"));
  }
  const flooded = await town.proxy.linked(who.alice.device);
  for (let i = 0; i < 2000; i++) flooded.browser.send(`{"protected":"${i}","payload":"","signature":""}`);
  // Whether it put up with all of that or not: the next connection is as good as any.
  flooded.browser.close();
  await once(flooded.browser, "close");
  await town.proxy.linked(who.alice.device);
  await alice.evaluate(() => until(() => phone.presence.state === "online", "node"));
  assert.equal(await declined(bob, alice, who.alice), before + 1);
});

test("a name is text, whatever it looks like", LIMIT, async () => {
  await place(mallory, who.bob);
  assert.equal(await ring(bob), '<img src=x onerror="globalThis.broken = 1">');
  await bob.evaluate(() => call.decline());
  await ended(mallory);
  assert.equal(await bob.evaluate(() => globalThis.broken), undefined);
});

test("no key left the browser, and nobody was called whom nobody called", LIMIT, async () => {
  const secret = await alice.evaluate(async () => {
    const { secretOfWords } = await import("/dist/wasm.js");
    return [...secretOfWords((await home.exportWords()).join(" "))];
  });
  const sent = town.proxy.seen.filter(({ down, link }) => !down && link.device === who.alice.device);
  const all = sent.map(({ text, body }) => text + JSON.stringify(body)).join("\n");
  assert.ok(all.includes(who.alice.identity), "what is looked through is what she sent");
  for (const encoding of ["hex", "base64", "base64url", "latin1"]) {
    assert.equal(all.includes(Buffer.from(secret).toString(encoding).replace(/=+$/, "")), false, encoding);
  }
  const called = new Set(sent.filter(({ body }) => body?.type === "invite").map(({ body }) => body.to));
  assert.deepEqual([...called].sort(), [who.bob.identity, who.mallory.identity].sort());
});
