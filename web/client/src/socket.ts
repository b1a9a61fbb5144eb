/** `ws/1.0` in a browser: one WebSocket, text frames, and what its end means (03 §2). */

/** WS-7: a newer connection of the same device took over. */
const REPLACED = 4002;
/** What may wait to be sent on one link; a node that does not read is no use. */
const BACKLOG = 1 << 20;
/** WS-11: the largest frame, in bytes of UTF-8. */
const CAP = 65_536;

/** What a link reports. */
export interface LinkListener {
  up(): void;
  frame(text: string): void;
  down(why: string, replaced: boolean): void;
}

/** One link to a node. It reports its end once. */
export class Socket {
  readonly #socket: WebSocket | undefined;
  readonly #listener: LinkListener;
  #open = false;
  #over = false;

  constructor(uri: string, listener: LinkListener) {
    this.#listener = listener;
    let socket: WebSocket;
    try {
      if (!uri.startsWith("wss://")) throw new Error("a node's address starts with wss://");
      socket = new WebSocket(uri);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      queueMicrotask(() => this.#end(`${uri}: ${why}`, false));
      return;
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#open = true;
      if (!this.#over) listener.up();
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.#over) return;
      // WS-14
      if (typeof data !== "string") return this.cut("a frame that is no text");
      // WS-12; the status that it names is not for scripts to give.
      if (isTooLarge(data)) return this.cut(`a frame of more than ${CAP} bytes`);
      listener.frame(data);
    };
    socket.onclose = ({ code, reason }) => {
      const words = reason === "" ? `code ${code}` : reason;
      // A script is not told why a connection could not be made (WPH-56).
      this.#end(this.#open ? `closed by the other side: ${words}` : "the node cannot be reached", code === REPLACED);
    };
  }

  /** Sends one frame; false if the link is of no use any more. */
  send(frame: string): boolean {
    if (this.#over || this.#socket?.readyState !== WebSocket.OPEN) return false;
    if (this.#socket.bufferedAmount > BACKLOG) {
      this.cut("what was sent is not being read");
      return false;
    }
    this.#socket.send(frame);
    return true;
  }

  /** Closes without a report: the agent wants it so. */
  close(): void {
    this.#over = true;
    this.#socket?.close(1000);
  }

  /** Gives it up, and reports why. */
  cut(why: string): void {
    this.#end(why, false);
    this.#socket?.close();
  }

  #end(why: string, replaced: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#listener.down(why, replaced);
  }
}

function isTooLarge(frame: string): boolean {
  // Three bytes for each unit of UTF-16 at most, so that few frames have to be counted.
  return frame.length > CAP || (3 * frame.length > CAP && new TextEncoder().encode(frame).length > CAP);
}
