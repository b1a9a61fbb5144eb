// What else people do: hold, camera and screen in mid-call, screening, declining, strangers, several tabs and devices, backups.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect, Town } from "./town.js";

/** @type {Town} */
let town;
before(async () => (town = await Town.build()), { timeout: 120_000 });
after(() => town?.end());

const LIMIT = { timeout: 120_000 };

/** Two browsers in a call. */
async function talk(media = {}) {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  await connect(alice, bob, media);
  return [alice, bob];
}

const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));

test("UPD: hold and resume, seen from both ends", LIMIT, async () => {
  const [alice, bob] = await talk();
  await alice.evaluate(() => call.hold(true));
  await bob.evaluate(() => until(() => call.heldByPeer, "hold"));
  assert.equal(await alice.evaluate(() => until(() => call.media.audio === "inactive", "silence").then(() => call.held)), true);
  await alice.evaluate(() => call.hold(false));
  await bob.evaluate(() => until(() => !call.heldByPeer && call.media.audio === "sendrecv", "resume"));
  await bob.evaluate(() => until(() => (call.media.quality?.levelIn ?? 0) > 0.01, "sound again"));
  await close(alice, bob);
});

test("UPD: a camera and a screen in mid-call, each where it belongs, and off again", LIMIT, async () => {
  const [alice, bob] = await talk();
  await alice.evaluate(() => call.setCamera(true));
  await bob.evaluate(() => until(() => call.media.video === "recvonly" && call.media.remote.getVideoTracks().length === 1, "camera"));
  await bob.evaluate(() => until(() => (call.media.quality?.video?.framesDecoded ?? 0) > 5, "pictures"));
  assert.equal(await bob.evaluate(() => call.pendingUpdate?.wantsVideo), true, "ours is asked for, not taken");
  await bob.evaluate(() => call.pendingUpdate.accept());
  await alice.evaluate(() => until(() => call.media.video === "sendrecv" && call.media.remote.getVideoTracks().length === 1, "their camera"));
  await alice.evaluate(() => call.shareScreen(true));
  await bob.evaluate(() => until(() => call.media.remoteScreen.getVideoTracks().length === 1, "screen"));
  assert.equal(await bob.evaluate(() => call.media.remote.getVideoTracks().length), 1);
  await alice.evaluate(() => call.shareScreen(false));
  await bob.evaluate(() => until(() => call.media.remoteScreen.getVideoTracks().length === 0, "no screen"));
  await alice.evaluate(() => call.setCamera(false));
  await bob.evaluate(() => until(() => call.media.video === "sendonly", "no camera"));
  assert.equal(await alice.evaluate(() => call.media.local.getVideoTracks().length), 0);
  await close(alice, bob);
});

test("RTT-2, RTT-5: text appears as it is typed, both ways", LIMIT, async () => {
  const [alice, bob] = await talk();
  await alice.evaluate(() => call.text.send("helllo\b\bo 👋\nhow are you"));
  const lines = (page, wanted) =>
    page.evaluate((wanted) => until(() => call.text.lines.map(({ from, text }) => `${from}: ${text}`).join("|") === wanted, wanted), wanted);
  await lines(bob, "peer: hello 👋|peer: how are you");
  await bob.evaluate(() => call.text.send("<i>fine</i>\n"));
  await lines(alice, "us: hello 👋|us: how are you|peer: <i>fine</i>");
  await alice.evaluate(() => call.text.send("?\n"));
  await lines(bob, "peer: hello 👋|peer: how are you?|us: <i>fine</i>");
  assert.equal(await bob.evaluate(() => call.media.audio), "sendrecv", "the call goes on as it was");
  await alice.evaluate(() => call.hangUp());
  await close(alice, bob);
});

test("SCR-1, SCR-3: screened, then taken over", LIMIT, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const link = await bob.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    play(call);
    await until(() => call.state === "talking", "media");
    return { screening: call.screening, by: call.answeredBy };
  }, link);
  await bob.evaluate(async () => {
    globalThis.call = await until(() => phone.calls[0], "call");
    await call.screen();
    play(call);
    await until(() => call.state === "talking", "media");
    await until(() => (call.media.quality?.levelIn ?? 0) > 0.01, "the caller's words");
  });
  assert.deepEqual(await placed, { screening: "we-are-screened", by: "screening" });
  assert.equal(await bob.evaluate(() => call.media.audio), "recvonly");
  await bob.evaluate(() => call.takeOver());
  await alice.evaluate(() => until(() => call.screening === "none" && call.media.audio === "sendrecv", "both ways"));
  await alice.evaluate(() => until(() => (call.media.quality?.levelIn ?? 0) > 0.01, "an answer"));
  await close(alice, bob);
});

test("declined, given up, and missed: each in its words", LIMIT, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const link = await bob.evaluate(() => phone.myLink());
  const declined = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    await until(() => call.state === "ended", "end");
    return call.reason;
  }, link);
  await bob.evaluate(() => until(() => phone.calls[0], "call").then((call) => call.decline()));
  assert.equal(await declined, "user.declined");
  const missed = bob.evaluate(async () => {
    const call = await until(() => phone.calls[0], "call");
    await until(() => call.state === "ended", "end");
    return { missed: call.missed, history: (await phone.history()).map(({ missed, direction }) => ({ missed, direction })) };
  });
  await alice.evaluate(async (link) => {
    const call = await phone.call(await phone.locate(link));
    await until(() => call.state === "ringing", "ringing");
    await call.hangUp();
  }, link);
  const seen = await missed;
  assert.equal(seen.missed, true);
  const lines = await bob.evaluate(() => phone.history());
  assert.deepEqual(lines.map(({ missed }) => missed), [true, false]);
  await close(alice, bob);
});

test("FC: a stranger asks, is let in, and calls; a blocked one hears nothing of it", LIMIT, async () => {
  const alice = await town.phone("Alice");
  const bob = await town.phone("Bob", { policy: { firstContact: true } });
  const link = await bob.evaluate(() => phone.myLink());
  const refused = await alice.evaluate(async (link) => {
    globalThis.bob = await phone.locate(link);
    const call = await phone.call(bob);
    await until(() => call.state === "ended", "end");
    return call.reason;
  }, link);
  assert.equal(refused, "policy.first-contact-required");
  assert.equal(await bob.evaluate(() => events.some(({ type }) => type === "incoming")), false, "it never rang");
  await alice.evaluate(() => phone.introduce(bob, { purpose: "<b>dinner</b>" }));
  const [request] = await bob.evaluate(async () => {
    await until(() => events.some(({ type }) => type === "introduced"), "introduction");
    return phone.requests();
  });
  assert.equal(request.claimedName, "Alice");
  assert.equal(request.purpose, "<b>dinner</b>", "text, as it was said");
  await bob.evaluate((id) => phone.grant(id), request.introduction);
  await alice.evaluate(() => until(() => events.some(({ type }) => type === "granted"), "grant"));
  const rang = bob.evaluate(() => until(() => phone.calls[0], "call").then((call) => call.decline()));
  assert.equal(
    await alice.evaluate(async () => {
      const call = await phone.call(bob);
      await until(() => call.state === "ended", "end");
      return call.reason;
    }),
    "user.declined",
  );
  await rang;
  await bob.evaluate((identity) => phone.block(identity, true), request.identity);
  await bob.evaluate(() => phone.setPolicy({ firstContact: false }));
  const before = await bob.evaluate(() => events.filter(({ type }) => type === "incoming").length);
  assert.equal(
    await alice.evaluate(async () => {
      const call = await phone.call(bob);
      await until(() => call.state === "ended", "end");
      return call.reason;
    }),
    "endpoint.unavailable",
  );
  assert.equal(await bob.evaluate(() => events.filter(({ type }) => type === "incoming").length), before);
  await close(alice, bob);
});

test("two tabs: both show a call, one rings, and the second goes on when the first is closed", LIMIT, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const second = await town.tab(bob.context(), "Bob", {});
  assert.equal(await second.evaluate(() => phone.identity), await bob.evaluate(() => phone.identity));
  const link = await second.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    play(call);
    await until(() => call.state === "talking", "media");
  }, link);
  const rings = (page) => page.evaluate(() => until(() => phone.calls[0], "call").then((call) => phone.shouldAlert(call.id)));
  assert.deepEqual((await Promise.all([rings(bob), rings(second)])).sort(), [false, true]);
  // The tab that does not lead has the media.
  await second.evaluate(async () => {
    globalThis.call = phone.calls[0];
    await call.accept();
    play(call);
    await until(() => call.state === "talking" && (call.media.quality?.levelIn ?? 0) > 0.01, "sound");
  });
  await placed;
  assert.equal(await bob.evaluate(() => until(() => phone.calls[0]?.state === "talking", "the other tab's call").then(() => phone.calls[0].isHere)), false);
  await second.evaluate(() => call.hangUp());
  await alice.evaluate(() => until(() => call.state === "ended", "end"));
  await bob.close();
  await second.evaluate(() => until(() => phone.bus.leads && phone.presence.state === "online", "lead"));
  const again = alice.evaluate(async (link) => {
    const call = await phone.call(await phone.locate(link));
    await until(() => call.state === "ended", "end");
    return call.reason;
  }, link);
  await second.evaluate(() => until(() => phone.calls[0], "call").then((call) => call.decline()));
  assert.equal(await again, "user.declined");
  await close(alice, second);
});

test("DEL: a second device is linked, both ring, and one rings off", LIMIT, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  await context.grantPermissions(["microphone"]);
  const tablet = await context.newPage();
  await tablet.goto(town.origin);
  const request = await tablet.evaluate(async () => {
    const dsip = await import("/dist/index.js");
    const home = await dsip.openHome();
    const linking = await home.beginLinking({ name: "Tablet" });
    Object.assign(globalThis, { dsip, home, linking });
    return { code: linking.code, groups: linking.fingerprint.groups };
  });
  const offered = await bob.evaluate(async (code) => {
    globalThis.offer = await home.readLinkingRequest(code);
    return { name: offer.name, groups: offer.fingerprint.groups };
  }, request.code);
  assert.deepEqual(offered, { name: "Tablet", groups: request.groups });
  const approval = await bob.evaluate(() => offer.approve());
  const wrong = await tablet.evaluate((code) => linking.finish(code).catch(({ code }) => code), `${approval}x`);
  assert.equal(wrong, "link-invalid");
  const profile = await tablet.evaluate((code) => linking.finish(code), approval);
  assert.equal(profile.identity, await bob.evaluate(() => phone.identity));
  assert.equal(profile.hasIdentityKey, false);
  await tablet.evaluate(async (node) => {
    globalThis.phone = await dsip.startPhone(home, { node: { uri: node } });
    await new Promise((resolve) => (phone.presence.state === "online" ? resolve() : phone.on("presence", ({ presence }) => presence.state === "online" && resolve())));
    await phone.setPolicy({ firstContact: false });
  }, town.address);
  const ring = (page) => page.evaluate(() => new Promise((resolve) => (phone.calls[0] ? resolve() : phone.on("incoming", resolve))).then(() => (globalThis.call = phone.calls[0]).id));
  const [one, other] = [ring(bob), ring(tablet)];
  const link = await bob.evaluate(() => phone.myLink());
  const placed = alice.evaluate(async (link) => {
    globalThis.call = await phone.call(await phone.locate(link));
    await until(() => call.state === "talking", "media");
    return call.party.device;
  }, link);
  assert.equal(await one, await other);
  await tablet.evaluate(() => call.accept());
  assert.equal(await placed, profile.device);
  const off = await bob.evaluate(() => until(() => call.state === "ended", "ringing off").then(() => ({ reason: call.reason, missed: call.missed })));
  assert.deepEqual(off, { reason: "session.answered-elsewhere", missed: false });
  const { until } = await bob.evaluate((device) => home.revoke(device), profile.device);
  assert.ok(until > Date.now());
  assert.equal(await bob.evaluate(async (device) => (await home.devices()).find(({ did }) => did === device).revoked, profile.device), true);
  await close(alice, bob, tablet);
});

test("keys: not extractable where the browser can, backed up by file and by words, guarded by a passphrase", LIMIT, async () => {
  const page = await town.phone("Alice");
  const made = await page.evaluate(() => home.profile);
  assert.deepEqual([made.protection.device, made.protection.identity], ["non-extractable", "browser"]);
  const words = await page.evaluate(() => home.exportWords());
  assert.equal(words.length, 24);
  const { text, guarded, wrong } = await page.evaluate(async () => {
    const text = await (await home.exportBackup("correct horse")).text();
    const guarded = (await home.guard({ passphrase: "battery staple" })).protection.identity;
    const wrong = await home.exportWords({ passphrase: "x" }).catch(({ code }) => code);
    return { text, guarded, wrong };
  });
  assert.deepEqual([guarded, wrong], ["passphrase", "wrong-passphrase"]);
  assert.deepEqual(await page.evaluate(() => home.exportWords({ passphrase: "battery staple" })), words);
  const restored = await page.evaluate(
    async ({ words, text }) => {
      const by = {};
      const other = await dsip.openHome({ database: "words" });
      by.words = (await other.importWords(words, { name: "Alice" })).identity;
      const third = await dsip.openHome({ database: "file" });
      by.slip = await third.importBackup(new Blob([text]), "wrong").catch(({ code }) => code);
      by.file = (await third.importBackup(new Blob([text]), "correct horse")).identity;
      by.again = await third.create({ name: "x" }).catch(({ code }) => code);
      return by;
    },
    { words, text },
  );
  assert.deepEqual(restored, { words: made.identity, slip: "wrong-passphrase", file: made.identity, again: "identity-exists" });
  await close(page);
});

test("mistakes are named: a target that is none, a microphone that is refused", LIMIT, async () => {
  const page = await town.phone("Alice", { permissions: true });
  const codes = await page.evaluate(async () => {
    const code = (act) => act().then(() => "no error", ({ code }) => code);
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    return {
      nobody: await code(() => phone.locate("bob")),
      cut: await code(() => phone.locate("dsip:did:key")),
      refused: await code(() => phone.call("did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf")),
    };
  });
  assert.deepEqual(codes, { nobody: "target-invalid", cut: "target-invalid", refused: "microphone-denied" });
  await close(page);
});

test("a node that restarts: the phone comes back by itself, and rings", LIMIT, async () => {
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const link = await bob.evaluate(() => phone.myLink());
  await town.node.stop();
  await bob.evaluate(() => until(() => phone.presence.state === "offline", "offline"));
  await town.startNode();
  for (const page of [alice, bob]) await page.evaluate(() => until(() => phone.presence.state === "online", "online"));
  const placed = alice.evaluate(async (link) => {
    const call = await phone.call(await phone.locate(link));
    await until(() => call.state === "ended", "end");
    return call.reason;
  }, link);
  await bob.evaluate(() => until(() => phone.calls[0], "call").then((call) => call.decline()));
  assert.equal(await placed, "user.declined");
  await close(alice, bob);
});

test("through TURN only: neither learns where the other is, and both hear", LIMIT, async () => {
  const options = { iceTransportPolicy: "relay" };
  const [alice, bob] = [await town.phone("Alice", { options }), await town.phone("Bob", { options })];
  const hear = (page) => page.evaluate(() => until(() => call.media.quality?.path === "relayed" && call.media.quality.levelIn > 0.01, "sound by relay"));
  await connect(alice, bob);
  await Promise.all([hear(alice), hear(bob)]);
  await close(alice, bob);
});

test("keys: without Ed25519 in the browser the key is wrapped, and the phone works the same", LIMIT, async () => {
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  await context.addInitScript(() => {
    const generate = crypto.subtle.generateKey.bind(crypto.subtle);
    crypto.subtle.generateKey = (algorithm, ...rest) =>
      algorithm.name === "Ed25519" ? Promise.reject(new DOMException("unknown", "NotSupportedError")) : generate(algorithm, ...rest);
  });
  const page = await town.tab(context, "Old", {});
  assert.equal(await page.evaluate(() => home.profile.protection.device), "wrapped");
  const again = await town.tab(context, "Old", {});
  assert.equal(await again.evaluate(() => phone.device), await page.evaluate(() => phone.device));
  await context.close();
});
