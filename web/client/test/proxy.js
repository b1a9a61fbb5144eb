// Whoever stands between a browser and its node: ends the TLS, reads every frame, and sends on what it likes.

import { readFileSync } from "node:fs";
import { createServer, request as ask } from "node:https";
import { WebSocket, WebSocketServer } from "ws";

export class Proxy {
  /** In front of the node at `address`, at a port of its own, with the node's certificate. */
  static async start(address, { cert, key }) {
    const proxy = new this();
    proxy.upstream = new URL(address);
    proxy.links = [];
    /** What went through, oldest first: `{ link, down, text, device, body }`; `down` is towards the browser. */
    proxy.seen = [];
    /** What becomes of a frame: what this returns is sent on, and nothing else. */
    proxy.alter = ({ text }) => [text];
    proxy.server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => proxy.fetch(request, response));
    const sockets = new WebSocketServer({ server: proxy.server, handleProtocols: ([first]) => first, perMessageDeflate: false });
    sockets.on("connection", (browser, request) => proxy.join(browser, request));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  fetch(request, response) {
    const { hostname, port } = this.upstream;
    const passed = ask({ hostname, port, path: request.url, method: request.method, headers: request.headers, rejectUnauthorized: false }, async (from) => {
      const chunks = [];
      for await (const chunk of from) chunks.push(chunk);
      const { "content-length": _length, "transfer-encoding": _encoding, ...headers } = from.headers;
      response.writeHead(from.statusCode, headers).end(Buffer.concat(chunks));
    });
    passed.on("error", () => response.destroy());
    request.pipe(passed);
  }

  join(browser, request) {
    const protocols = request.headers["sec-websocket-protocol"]?.split(/, */) ?? [];
    const node = new WebSocket(this.upstream, protocols, { rejectUnauthorized: false, perMessageDeflate: false });
    const link = { browser, node, device: undefined };
    this.links.push(link);
    const waiting = [];
    const pass = (down, to) => (data) => {
      const text = data.toString();
      const { device, body } = opened(text);
      if (!down) link.device ??= device;
      const frame = { link, down, text, device, body };
      this.seen.push(frame);
      for (const altered of this.alter(frame)) {
        if (to.readyState === WebSocket.CONNECTING) waiting.push(altered);
        else if (to.readyState === WebSocket.OPEN) to.send(altered);
      }
    };
    node.on("open", () => waiting.splice(0).forEach((text) => node.send(text)));
    node.on("message", pass(true, browser));
    browser.on("message", pass(false, node));
    for (const [one, other] of [[node, browser], [browser, node]]) {
      one.on("close", () => other.close());
      one.on("error", () => other.terminate());
    }
    browser.on("close", () => this.links.splice(this.links.indexOf(link) >>> 0, 1));
  }

  /** The link of a device that is there now. */
  link(device) {
    return this.links.findLast((link) => link.device === device);
  }

  /** The same, once there is one. */
  async linked(device) {
    for (;;) {
      const link = this.link(device);
      if (link !== undefined) return link;
      await new Promise((again) => setTimeout(again, 20));
    }
  }

  /** The network takes every connection away, without a word. */
  cut() {
    for (const { browser, node } of [...this.links]) [browser, node].forEach((socket) => socket.terminate());
  }

  async end() {
    this.cut();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** Who signed an envelope, and what is in it; nothing if it is none. */
function opened(text) {
  try {
    const { protected: header, payload } = JSON.parse(text);
    const plain = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
    return { device: plain(header).kid.split("#")[0], body: plain(payload) };
  } catch {
    return {};
  }
}
