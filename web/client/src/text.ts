/** Real-time text: a data channel on a path of its own, described beside the call's media (docs/spec/real-time-text.md). */

import { DsipError } from "./errors.js";
import type { RealTimeText, Unsubscribe } from "./types.js";

/** RTT-4: how long candidates are looked for. */
const GATHERING = 2000;
/** RTT-6: how long typing waits for more. */
const BATCH = 300;
/** RTT-6: what one message holds, in UTF-16 units of which none takes more than three octets. */
const MESSAGE = 640;
/** What is kept of a conversation. */
const LINES = 500;
const LINE = 4000;
/** What may wait for a path that does not come about. */
const WAITING = 4000;

const BACKSPACE = "\b";

interface Line {
  readonly from: "us" | "peer";
  text: string;
  finished: boolean;
}

export class TextPath implements RealTimeText {
  #configuration: RTCConfiguration;
  readonly #listeners = new Set<() => void>();
  readonly #open: () => Promise<void>;
  readonly #lines: Line[] = [];
  #pc: RTCPeerConnection | undefined;
  #channel: RTCDataChannel | undefined;
  /** Whether an offer of ours waits for its answer. */
  #offering = false;
  #opening: Promise<void> | undefined;
  #waiting = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `open` has the session ask the peer for a path. */
  constructor(servers: readonly RTCIceServer[], policy: RTCIceTransportPolicy, open: () => Promise<void>) {
    this.#configuration = { iceServers: [...servers], iceTransportPolicy: policy };
    this.#open = open;
  }

  /** For the next path. */
  useServers(servers: readonly RTCIceServer[]): void {
    this.#configuration = { ...this.#configuration, iceServers: [...servers] };
  }

  get lines(): RealTimeText["lines"] {
    return this.#lines;
  }

  send(text: string): void {
    if (this.#closed) return;
    // T.140 knows one line separator; keyboards know three.
    const typed = text.replace(/\r\n|\r|\n/g, "\u2028");
    this.#show("us", typed);
    this.#waiting = (this.#waiting + typed).slice(-WAITING);
    if (this.#channel?.readyState === "open") {
      this.#timer ??= setTimeout(() => this.#flush(), BATCH);
    } else if (this.#pc === undefined) {
      this.#opening ??= this.#open().finally(() => (this.#opening = undefined));
      // Refused, or out of turn: what is typed next tries again.
      this.#opening.catch(() => {});
    }
  }

  onChange(listener: () => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // ------------------------------------------------------------------------------------------------------------- the path --

  /** RTT-2: our offer of a path. */
  async offer(): Promise<string> {
    const pc = this.#fresh();
    this.#offering = true;
    this.#use(pc.createDataChannel("text", { ordered: true, protocol: "t140" }));
    return this.#described(pc, await pc.createOffer());
  }

  /** Our answer to the peer's offer of one, which takes the place of whatever there was. */
  async answer(sdp: string): Promise<string> {
    const pc = this.#fresh();
    pc.ondatachannel = ({ channel }) => {
      // RTT-5
      if (channel.protocol !== "t140" || this.#channel !== undefined) return channel.close();
      this.#use(channel);
    };
    await pc.setRemoteDescription({ type: "offer", sdp });
    return this.#described(pc, await pc.createAnswer());
  }

  /** What the peer says to our offer; nothing in it means no. */
  async settle(sdp: string): Promise<void> {
    if (!this.#offering) return;
    this.#offering = false;
    if (sdp === "") return this.drop();
    await this.#pc?.setRemoteDescription({ type: "answer", sdp });
  }

  get isOffering(): boolean {
    return this.#offering;
  }

  /** There is no path any more. What was typed stays. */
  drop(): void {
    this.#offering = false;
    this.#channel = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pc?.close();
    this.#pc = undefined;
  }

  close(): void {
    this.#closed = true;
    this.drop();
  }

  #fresh(): RTCPeerConnection {
    if (this.#closed) throw new DsipError("no-such-call", "the call is over");
    this.drop();
    const pc = new RTCPeerConnection(this.#configuration);
    pc.onconnectionstatechange = () => {
      if (pc === this.#pc && pc.connectionState === "failed") this.drop();
    };
    this.#pc = pc;
    return pc;
  }

  async #described(pc: RTCPeerConnection, description: RTCSessionDescriptionInit): Promise<string> {
    await pc.setLocalDescription(description);
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (pc.iceGatheringState === "complete") resolve();
      };
      pc.onicegatheringstatechange = look;
      setTimeout(resolve, GATHERING);
      look();
    });
    return pc.localDescription?.sdp ?? "";
  }

  #use(channel: RTCDataChannel): void {
    this.#channel = channel;
    channel.onopen = () => this.#flush();
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string" && data.length <= MESSAGE * 3) this.#show("peer", data.replace(/\r\n/g, "\u2028"));
    };
    channel.onclose = () => {
      if (channel === this.#channel) this.drop();
    };
    if (channel.readyState === "open") this.#flush();
  }

  #flush(): void {
    this.#timer = undefined;
    while (this.#waiting !== "" && this.#channel?.readyState === "open") {
      // Not in the middle of a character.
      let end = Math.min(MESSAGE, this.#waiting.length);
      if (end < this.#waiting.length && /[\uD800-\uDBFF]/.test(this.#waiting[end - 1] ?? "")) end -= 1;
      this.#channel.send(this.#waiting.slice(0, end));
      this.#waiting = this.#waiting.slice(end);
    }
  }

  #show(from: "us" | "peer", text: string): void {
    for (const character of text) {
      let line = this.#lines.findLast((one) => one.from === from);
      if (character === "\u2028") {
        if (line !== undefined) line.finished = true;
        continue;
      }
      if (character === BACKSPACE) {
        if (line !== undefined && !line.finished) line.text = [...line.text].slice(0, -1).join("");
        continue;
      }
      if (line === undefined || line.finished || line.text.length >= LINE) {
        line = { from, text: "", finished: false };
        this.#lines.push(line);
        this.#lines.splice(0, this.#lines.length - LINES);
      }
      line.text += character;
    }
    for (const listener of this.#listeners) listener();
  }
}
