// A phone that is closed is woken: the page registers at its node, the node posts to a push service, the service worker shows it.

import assert from "node:assert/strict";
import { createDecipheriv, createECDH, createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { after, before, test } from "node:test";
import { Town } from "./town.js";

const LIMIT = { timeout: 120_000 };
/** @type {Town} */
let town;
before(async () => (town = await Town.build()), LIMIT);
after(() => town?.end());

/** A push service: everything that is posted to it, in order. */
class PushService {
  static async open({ cert, key }) {
    const service = new PushService();
    service.posted = [];
    service.server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
      const body = [];
      for await (const part of request) body.push(part);
      response.writeHead(201).end();
      service.posted.push({ path: request.url, headers: request.headers, body: Buffer.concat(body) });
      service.server.emit("posted");
    }).listen(0, "127.0.0.1");
    await once(service.server, "listening");
    service.url = `https://localhost:${service.server.address().port}`;
    return service;
  }

  async next() {
    if (this.posted.length === 0) await once(this.server, "posted", { signal: AbortSignal.timeout(30_000) });
    return this.posted.shift();
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** RFC 8291, as a browser opens it. */
function opened(body, ecdh, auth) {
  const hkdf = (salt, ikm, info, length) => {
    const prk = createHmac("sha256", salt).update(ikm).digest();
    return createHmac("sha256", prk).update(Buffer.concat([info, Buffer.from([1])])).digest().subarray(0, length);
  };
  const [salt, idLength] = [body.subarray(0, 16), body[20]];
  const sender = body.subarray(21, 21 + idLength);
  const sealed = body.subarray(21 + idLength);
  const info = Buffer.concat([Buffer.from("WebPush: info\0"), ecdh.getPublicKey(), sender]);
  const ikm = hkdf(auth, ecdh.computeSecret(sender), info, 32);
  const key = hkdf(salt, ikm, Buffer.from("Content-Encoding: aes128gcm\0"), 16);
  const nonce = hkdf(salt, ikm, Buffer.from("Content-Encoding: nonce\0"), 12);
  const decipher = createDecipheriv("aes-128-gcm", key, nonce).setAuthTag(sealed.subarray(-16));
  const plain = Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
  return plain.subarray(0, plain.lastIndexOf(2)).toString();
}

test("WAK-2, WAK-11, WAK-21: a closed page's person is woken when called, comes back, and the call rings", LIMIT, async () => {
  const service = await PushService.open(town.certificate);
  const ecdh = createECDH("prime256v1");
  ecdh.generateKeys();
  const auth = randomBytes(16);
  const [alice, bob] = [await town.phone("Alice"), await town.phone("Bob")];
  const keys = { p256dh: ecdh.getPublicKey("base64url"), auth: auth.toString("base64url") };
  assert.equal(await bob.evaluate(() => phone.wake.serverKey().then(({ length }) => length)), 65);
  await bob.evaluate((subscription) => phone.wake.register(subscription), { endpoint: `${service.url}/bob`, keys });
  const link = await bob.evaluate(() => phone.myLink());
  const context = bob.context();
  await bob.close();
  /** How a call of Alice's ends. */
  const attempt = () =>
    alice.evaluate(async (link) => {
      const call = await phone.call(await phone.locate(link));
      await until(() => call.state === "ended", "end");
      return call.reason;
    }, link);
  const placed = attempt();
  const { path, headers, body } = await service.next();
  assert.equal(path, "/bob");
  assert.equal(headers["urgency"], "high");
  assert.equal(headers["topic"], "dsip-call");
  assert.match(headers["authorization"], /^vapid t=/);
  assert.equal(opened(body, ecdh, auth), '{"type":"wake"}', "that somebody calls, and not who");
  const again = await town.tab(context, "Bob", {});
  await again.evaluate(() => until(() => phone.calls[0], "the call that woke it").then((call) => call.decline()));
  assert.equal(await placed, "user.declined");
  // Taken back, nobody is woken; a second call is let expire to see that.
  await again.evaluate(() => phone.wake.unregister());
  await again.close();
  assert.equal(await attempt(), "session.timeout");
  assert.equal(service.posted.length, 0);
  service.close();
  await Promise.all([alice.context().close(), context.close()]);
});

test("a subscription without keys, and one that a node does not take, are refused in words", LIMIT, async () => {
  const page = await town.phone("Alice");
  const codes = await page.evaluate(async () => {
    const code = (act) => act().then(() => "no error", ({ code }) => code);
    const keys = { p256dh: "BA", auth: "AA" };
    return [await code(() => phone.wake.register({ endpoint: "https://push.example/x" })), await code(() => phone.wake.register({ endpoint: "http://push.example/x", keys }))];
  });
  assert.deepEqual(codes, ["refused", "refused"]);
  await page.context().close();
});

test("the page that the node serves: its service worker shows what wakes it when nobody looks, and says nothing of who calls", LIMIT, async () => {
  const context = await town.browser.newContext({ ignoreHTTPSErrors: true });
  const origin = town.address.replace("wss:", "https:").replace(/\/dsip$/, "");
  await context.grantPermissions(["notifications"], { origin });
  const page = await context.newPage();
  await page.goto(origin);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  const [worker] = context.serviceWorkers();
  const session = await context.newCDPSession(page);
  const registered = new Promise((resolve) =>
    session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
      const one = registrations.find(({ scopeURL, isDeleted }) => !isDeleted && scopeURL.startsWith(origin));
      if (one !== undefined) resolve(one.registrationId);
    }),
  );
  await session.send("ServiceWorker.enable");
  const registrationId = await registered;
  const push = () => session.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data: '{"type":"wake"}' });
  const shown = () => worker.evaluate(() => self.registration.getNotifications().then((all) => all.map(({ title, body, tag, data }) => ({ title, body, tag, data }))));
  // The page is gone, and the browser with its worker is what is left.
  await page.goto("about:blank");
  await push();
  const notification = await worker.evaluate(async () => {
    for (;;) {
      const [one] = await self.registration.getNotifications();
      if (one !== undefined) return { tag: one.tag, data: one.data, title: one.title, body: one.body };
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
  assert.equal(notification.tag, "wake");
  assert.equal(notification.data, null);
  assert.notEqual(notification.title, "");
  assert.doesNotMatch(`${notification.title} ${notification.body}`, /did:/);
  // A second one takes the place of the first.
  await push();
  assert.equal((await shown()).length, 1);
  await context.close();
});
