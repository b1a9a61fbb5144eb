// A node, people with browsers, people with terminals: real processes, real sockets, on loopback.

import { execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Proxy } from "./proxy.js";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const BINARY = process.env.DSIP_BIN ?? fileURLToPath(new URL("../../../target/debug/dsip", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** Nothing here takes longer, unless it is broken. */
const PATIENCE = 60_000;
const TYPES = { html: "text/html", js: "text/javascript", wasm: "application/wasm" };

/** A browser that lets every page have microphone and camera. */
export const ASKS_NOBODY = "--use-fake-ui-for-media-stream";
/** A browser that makes up a microphone and a camera. */
export const FAKE_DEVICES = "--use-fake-device-for-media-stream";

export function launch(more) {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--ignore-certificate-errors",
      "--autoplay-policy=no-user-gesture-required",
      "--auto-select-desktop-capture-source=Entire screen",
      ...more,
    ],
  });
}

/** A process that tells what happens, a JSON object a line. */
class Running {
  constructor(home, args, extra = {}) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DSIP_")));
    this.child = spawn(BINARY, [...args, "--json"], { env: { ...env, DSIP_HOME: home, ...extra }, stdio: ["pipe", "pipe", "inherit"] });
    this.told = [];
    this.waiting = [];
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      this.told.push(JSON.parse(line));
      for (const look of [...this.waiting]) look();
    });
    this.ended = new Promise((resolve) => this.child.on("exit", resolve));
  }

  /** Waits for an event of that name that was not waited for before. */
  until(name) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const at = this.told.findIndex((told) => told.event === name && !told.taken);
        if (at < 0) return;
        this.told[at].taken = true;
        clearTimeout(timer);
        this.waiting = this.waiting.filter((one) => one !== look);
        resolve(this.told[at]);
      };
      const timer = setTimeout(() => reject(new Error(`no ${name}; told so far: ${JSON.stringify(this.told)}`)), PATIENCE);
      this.waiting.push(look);
      look();
    });
  }

  async stop() {
    if (this.child.exitCode === null) this.child.kill("SIGTERM");
    await this.ended;
  }
}

/** A browser with fake media, and a server of nothing but this package. */
export class Page {
  static async open() {
    const page = new Page();
    await page.serve();
    page.context = await page.browser.newContext({ ignoreHTTPSErrors: true });
    page.page = await page.context.newPage();
    await page.page.goto(page.origin);
    return page;
  }

  async serve() {
    this.server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
      if (path === "/") return response.setHeader("content-type", TYPES.html).end("<!doctype html><title>test</title>");
      try {
        const type = TYPES[path.split(".").pop() ?? ""] ?? "application/octet-stream";
        response.setHeader("content-type", type).end(readFileSync(join(PACKAGE, path)));
      } catch {
        response.writeHead(404).end();
      }
    });
    await new Promise((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    // A name, as passkeys belong to one.
    this.origin = `http://localhost:${this.server.address().port}`;
    this.browser = await launch([ASKS_NOBODY, FAKE_DEVICES, ...this.detour()]);
  }

  /** What a browser is told so that it goes elsewhere than it believes. */
  detour() {
    return [];
  }

  async end() {
    await this.browser?.close();
    this.server?.close();
  }
}

export class Town extends Page {
  static async build() {
    const town = new this();
    town.dir = mkdtempSync(join(tmpdir(), "dsip-web-"));
    town.running = [];
    const [cert, key] = [join(town.dir, "cert.pem"), join(town.dir, "key.pem")];
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    execFileSync("openssl", ["req", "-x509", ...curve, "-nodes", "-keyout", key, "-out", cert, "-days", "2", ...subject], { stdio: "ignore" });
    town.certificate = { cert, key };
    town.port = await freePort();
    await town.startNode();
    await town.between();
    await town.serve();
    return town;
  }

  /** Before there are browsers. */
  async between() {}

  async startNode() {
    const { cert, key } = this.certificate;
    const any = "127.0.0.1:0";
    const listen = ["--listen", `127.0.0.1:${this.port}`, "--dht-listen", any, "--stun-listen", any, "--turn-tcp", any, "--turn-tls", any];
    const named = ["--host", "localhost", "--domain", `localhost:${this.port}`, "--certificate", cert, "--key", key];
    this.node = new Running(join(this.dir, "node"), ["node", ...listen, ...named, "--turn-allow-private", "--allow-private", "--ca", cert], { DSIP_LOG: "error" });
    const { wss, dht } = await this.node.until("ready");
    [this.address, this.dht] = [wss, dht];
  }

  /** A terminal of somebody. */
  terminal(name, ...args) {
    const running = new Running(join(this.dir, name), [...args, "--node", this.address, "--ca", this.certificate.cert]);
    this.running.push(running);
    return running;
  }

  async identity(name) {
    const made = new Running(join(this.dir, name), ["id", "new", "--no-passphrase", "--name", name]);
    await made.ended;
    return made.told.at(-1);
  }

  /** A browser of somebody, with a phone that runs. `policy` as the owner would set it. */
  async phone(name, { policy = { firstContact: false }, permissions = true, options = {} } = {}) {
    const context = await this.browser.newContext({ ignoreHTTPSErrors: true });
    if (permissions) await context.grantPermissions(["microphone", "camera"]);
    return this.tab(context, name, { policy, options });
  }

  async tab(context, name, { policy, options = {} } = {}) {
    const page = await context.newPage();
    page.on("pageerror", (error) => console.error(`${name}:`, error.message));
    page.on("console", (message) => {
      if (process.env.DSIP_TEST_CONSOLE || message.type() === "error") console.error(`${name}:`, message.text());
    });
    await page.goto(this.origin);
    await page.evaluate(
      async ({ name, node, policy, options }) => {
        const dsip = await import("/dist/index.js");
        const home = await dsip.openHome();
        if (home.profile === undefined) await home.create({ name });
        const phone = await dsip.startPhone(home, { node: { uri: node }, ...options });
        const events = [];
        phone.onAny((event) => events.push(event));
        Object.assign(globalThis, { dsip, home, phone, events });
        /** Waits until `look` finds something. */
        globalThis.until = (look, what) =>
          new Promise((resolve, reject) => {
            const began = Date.now();
            const again = () => {
              const found = look();
              if (found) return resolve(found);
              const told = events.map(({ type, call, ...rest }) => ({ type, state: call?.state, reason: rest.reason, detail: rest.detail ?? rest.message ?? rest.why }));
              if (Date.now() - began > 50_000) return reject(new Error(`no ${what}; told: ${JSON.stringify(told.slice(-30))}`));
              setTimeout(again, 50);
            };
            again();
          });
        /** Plays what comes in: what nobody listens to, a browser does not decode. */
        globalThis.play = (call) => {
          const screen = document.body.appendChild(document.createElement("video"));
          [screen.autoplay, screen.playsInline, screen.srcObject] = [true, true, call.media.remote];
        };
        await globalThis.until(() => phone.presence.state === "online", "node");
        if (policy) await phone.setPolicy(policy);
      },
      { name, node: this.address, policy, options },
    );
    return page;
  }

  async end() {
    await super.end();
    for (const running of this.running) await running.stop();
    await this.node?.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Two pages come to talk with each other: in each the call is `call`, and what it brings is played. */
export async function connect(caller, callee, media = {}) {
  const link = await callee.evaluate(() => phone.myLink());
  const placed = caller.evaluate(
    async ({ link, media }) => {
      globalThis.call = await phone.call(await phone.locate(link), media);
      play(call);
      await until(() => call.state === "talking", "media");
    },
    { link, media },
  );
  await callee.evaluate(async (media) => {
    globalThis.call = await until(() => phone.calls.find(({ state }) => state === "incoming"), "call");
    await call.accept(media);
    play(call);
    await until(() => call.state === "talking", "media");
  }, media);
  await placed;
}

/** A town with somebody between the browsers and their node, whom no browser can tell from it. */
export class WatchedTown extends Town {
  async between() {
    this.proxy = await Proxy.start(this.address, this.certificate);
  }

  detour() {
    return [`--host-resolver-rules=MAP localhost:${this.port} 127.0.0.1:${this.proxy.port}`];
  }

  async end() {
    await super.end();
    await this.proxy?.end();
  }
}

/** A port that is free for TCP and for UDP. */
async function freePort() {
  for (;;) {
    const tcp = createServer().listen(0, "127.0.0.1");
    await once(tcp, "listening");
    const { port } = tcp.address();
    const udp = createSocket("udp4");
    const isFree = await new Promise((resolve) => udp.once("error", () => resolve(false)).bind(port, "127.0.0.1", () => resolve(true)));
    udp.close();
    tcp.close();
    await once(tcp, "close");
    if (isFree) return port;
  }
}

/** The root mean square of what a 16-bit WAV file holds, 0 to 1. */
export function loudness(file) {
  const bytes = readFileSync(file);
  const samples = new Int16Array(bytes.buffer.slice(bytes.byteOffset + 44, bytes.byteOffset + 44 + ((bytes.length - 44) & ~1)));
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  return { seconds: samples.length / 48_000, rms: Math.sqrt(sum / Math.max(1, samples.length)) };
}
