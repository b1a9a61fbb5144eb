// A network in front of a server: so long there and back, so much a second each way, as a phone far away has it. In front of the
// whole server, since what Chromium emulates is neither handshakes nor WebSockets nor what a service worker fetches.
import { connect, createServer } from 'node:net';

/** How much goes at once, and how much of a connection waits here before its sender has to wait, too. */
const SEGMENT = 1_448;
const WINDOW = 64 * 1_024;

/** One direction, shared by all connections, each of which gets its turn. */
class Way {
  /** `delay` in milliseconds; `rate` in bits per second, as fast as can be if 0. */
  constructor(delay, rate) {
    Object.assign(this, { delay, rate, bytes: 0, free: 0, waiting: [], timer: undefined });
  }

  /** From one end to the other; nothing before `opened`. */
  join(from, to, opened = 0) {
    const flow = { chunks: [], flying: [], size: 0, from, to, opened };
    from.on('data', (data) => {
      for (let at = 0; at < data.length; at += SEGMENT) flow.chunks.push(data.subarray(at, at + SEGMENT));
      flow.size += data.length;
      if (flow.size > WINDOW) from.pause();
      this.#wait(flow);
    });
    from.on('end', () => {
      flow.ended = true;
      this.#wait(flow);
    });
  }

  #wait(flow) {
    if (this.waiting.length === 0) this.free = Math.max(this.free, performance.now());
    if (!this.waiting.includes(flow)) this.waiting.push(flow);
    this.#turn();
  }

  #turn() {
    clearTimeout(this.timer);
    for (let now = performance.now(); this.waiting.length > 0; now = performance.now()) {
      const begin = Math.min(...this.waiting.map(({ opened }) => Math.max(opened, this.free)));
      if (begin > now) {
        this.timer = setTimeout(() => this.#turn(), begin - now);
        return;
      }
      const flow = this.waiting.splice(this.waiting.findIndex(({ opened }) => opened <= now), 1)[0];
      const chunk = flow.chunks.shift();
      if (chunk !== undefined) {
        this.bytes += chunk.length;
        this.free = Math.max(this.free, begin) + (this.rate ? (chunk.length * 8_000) / this.rate : 0);
        flow.size -= chunk.length;
        if (flow.size < WINDOW) flow.from.resume();
      }
      const due = Math.max(now, this.free) + this.delay;
      // Timers may overtake each other by a millisecond, bytes must not.
      flow.flying.push(chunk);
      setTimeout(() => {
        const next = flow.flying.shift();
        if (next === undefined) flow.to.end();
        else flow.to.write(next);
      }, due - performance.now());
      if (chunk !== undefined && (flow.chunks.length > 0 || flow.ended)) this.waiting.push(flow);
    }
  }
}

/** Opens a link to a port of loopback. */
export async function link(to, { rtt = 0, down = 0, up = 0 } = {}) {
  const ways = { down: new Way(rtt / 2, down), up: new Way(rtt / 2, up) };
  const sockets = new Set();
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(socket);
      socket.setNoDelay();
      socket.on('error', () => other.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    // TCP's own handshake: a round trip before anything is sent.
    ways.up.join(near, far, performance.now() + rtt);
    ways.down.join(far, near);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    port: server.address().port,
    /** Bytes that came down so far, TLS and headers included. */
    get bytes() {
      return ways.down.bytes;
    },
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
