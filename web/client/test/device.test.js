// What the device and the browser around a phone are like: passkeys, clocks, microphones, tabs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ASKS_NOBODY, connect, FAKE_DEVICES, launch, Town } from "./town.js";

const LIMIT = { timeout: 120_000 };
/** @type {Town} */
let town;
before(async () => (town = await Town.build()), LIMIT);
after(() => town?.end());

const NOBODY = "did:key:z6MkhzX9qTeXBWkucyMVric1E9JrqUD5LPAkD2BNavakAptf";

/** A page with an authenticator in its device; passkeys want a name for an origin, not an address. */
async function withAuthenticator(options) {
  const context = await town.browser.newContext();
  const page = await context.newPage();
  await page.goto(town.origin.replace("127.0.0.1", "localhost"));
  const device = await context.newCDPSession(page);
  await device.send("WebAuthn.enable");
  const { authenticatorId } = await device.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", ctap2Version: "ctap2_1", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true, ...options },
  });
  await page.evaluate(async () => {
    globalThis.dsip = await import("/dist/index.js");
    globalThis.home = await dsip.openHome();
    await home.create({ name: "Alice" });
    globalThis.code = (act) => act().then(() => "no error", ({ code }) => code);
  });
  return { page, verify: (isUserVerified) => device.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified }), device, authenticatorId };
}

test("keys: a passkey guards the identity, and opens it for who is verified and nobody else", LIMIT, async () => {
  const { page, verify, device, authenticatorId } = await withAuthenticator({ hasPrf: true });
  assert.equal(await page.evaluate(() => home.canUsePasskey()), true);
  const words = await page.evaluate(() => home.exportWords());
  assert.equal(await page.evaluate(() => home.guard({ passkey: true }).then(({ protection }) => protection.identity)), "passkey");
  assert.equal((await device.send("WebAuthn.getCredentials", { authenticatorId })).credentials.length, 1);
  assert.deepEqual(await page.evaluate(() => home.exportWords({ passkey: true })), words);
  // After a restart of the page it opens all the same.
  await page.reload();
  const again = await page.evaluate(async () => {
    const { openHome } = await import("/dist/index.js");
    globalThis.home = await openHome();
    return { protection: home.profile.protection.identity, words: await home.exportWords({ passkey: true }) };
  });
  assert.deepEqual(again, { protection: "passkey", words });
  // What lies in the browser is of no use without the authenticator: the key under which it lies is nowhere.
  await verify(false);
  assert.equal(await page.evaluate(() => home.exportWords({ passkey: true }).catch(({ code }) => code)), "passkey-failed");
  await page.context().close();
});

test("keys: a passkey that cannot guard says so, and the key stays where it was", LIMIT, async () => {
  const { page } = await withAuthenticator({ hasPrf: false });
  const words = await page.evaluate(() => home.exportWords());
  assert.equal(await page.evaluate(() => code(() => home.guard({ passkey: true }))), "passkey-failed");
  assert.equal(await page.evaluate(() => home.profile.protection.identity), "browser");
  assert.deepEqual(await page.evaluate(() => home.exportWords()), words);
  await page.context().close();
});

for (const hours of [1, -1]) {
  test(`clocks: a page whose clock is ${hours} h off is told that it is its clock`, LIMIT, async () => {
    const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
    await context.addInitScript((offset) => {
      const now = Date.now.bind(Date);
      Date.now = () => now() + offset;
    }, hours * 3_600_000);
    const page = await context.newPage();
    await context.grantPermissions(["local-network-access"]);
    // A page of the node's own: what time it is elsewhere, a script is told by its own origin.
    const origin = town.address.replace("wss:", "https:").replace(/\/dsip$/, "");
    await context.route(new RegExp(`^${origin}/(?!dsip/)`), async (route) => route.fulfill({ response: await route.fetch({ url: town.origin + new URL(route.request().url()).pathname }) }));
    await page.goto(origin);
    const presence = await page.evaluate(async (node) => {
      const { openHome, startPhone } = await import("/dist/index.js");
      const home = await openHome();
      await home.create({ name: "Alice" });
      const phone = await startPhone(home, { node: { uri: node } });
      return new Promise((resolve) => {
        const look = () => phone.presence.code === "clock-wrong" && resolve(phone.presence);
        phone.on("presence", look);
        look();
      });
    }, town.address);
    assert.equal(presence.state, "offline");
    await context.close();
  });
}

/** What becomes of a call, in another browser. */
async function attempt(flags, prepare = () => {}) {
  const browser = await launch(flags);
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    await prepare(context);
    const page = await town.tab(context, "Alice", {});
    return await page.evaluate(async (nobody) => {
      const code = (act) => act().then(() => "no error", ({ code }) => code);
      return { audio: await code(() => phone.call(nobody)), both: await code(() => phone.call(nobody, { video: true })), calls: phone.calls.length, state: phone.presence.state };
    }, NOBODY);
  } finally {
    await browser.close();
  }
}

test("microphone: denied by the person, said as such, and nobody is called", LIMIT, async () => {
  const deny = async (context) => {
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    for (const name of ["microphone", "camera"]) await session.send("Browser.setPermission", { permission: { name }, setting: "denied", origin: town.origin });
  };
  assert.deepEqual(await attempt([FAKE_DEVICES], deny), { audio: "microphone-denied", both: "microphone-denied", calls: 0, state: "online" });
});

test("microphone: a device without one says that, and nobody is called", LIMIT, async () => {
  assert.deepEqual(await attempt([ASKS_NOBODY]), { audio: "microphone-missing", both: "microphone-missing", calls: 0, state: "online" });
});

test("tabs: the one with the connection asks before it is closed while another talks; closed all the same, both ends hear of it", LIMIT, async () => {
  const [alice, first] = [await town.phone("Alice"), await town.phone("Bob")];
  const second = await town.tab(first.context(), "Bob", {});
  await connect(alice, second);
  assert.equal(await first.evaluate(() => phone.bus.leads), true);
  // A browser asks on a page's behalf only once somebody touched it.
  await first.mouse.click(10, 10);
  const asked = first.waitForEvent("dialog");
  const closing = first.close({ runBeforeUnload: true });
  const dialog = await asked;
  assert.equal(dialog.type(), "beforeunload");
  await dialog.dismiss();
  await closing;
  await second.evaluate(() => until(() => call.state === "talking" && call.media.quality?.levelIn > 0.01, "sound"));
  await first.close();
  await alice.evaluate(() => until(() => call.state === "ended", "end"));
  const seen = await second.evaluate(() => until(() => call.state === "ended", "end").then(() => call.reason));
  assert.equal(seen, "user.hangup", "as it is when one's own tab is closed");
  // The tab that is left rings from now on.
  await second.evaluate(() => until(() => phone.presence.state === "online", "node"));
  await Promise.all([alice, second].map((page) => page.context().close()));
});
