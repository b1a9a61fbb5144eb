/**
 * How the tabs of one owner speak: one of them leads and drives the phone, all of them show it.
 *
 * ```text
 *   tab A (leads)                 tab B
 *   Driver ◄── request/reply ──── Phone        the lock says who leads; when it ends, the next in line does
 *      └──────── told ──────────► Phone
 * ```
 */

import type { CoreCommand, MediaAct, Offered, People } from "./wasm.js";
import { DsipError, asDsipError } from "./errors.js";
import type {
  AnsweredBy,
  CallId,
  CallState,
  Did,
  ErrorCode,
  HistoryEntry,
  Millis,
  Party,
  PhoneEvent,
  Policy,
  Presence,
} from "./types.js";

/** One tab, for as long as it is open. */
export type TabId = string;

/** A call as the driver sees it; what its media do only its own tab knows. */
export interface CallView {
  readonly id: CallId;
  readonly direction: "outgoing" | "incoming";
  readonly state: CallState;
  readonly party: Party | undefined;
  readonly identity: Did;
  /** What led to an outgoing call called them: a claim. */
  readonly claimedName: string | undefined;
  readonly answeredBy: AnsweredBy | undefined;
  readonly screening: "none" | "we-screen" | "we-are-screened";
  readonly startedAt: Millis;
  readonly answeredAt: Millis | undefined;
  readonly endedAt: Millis | undefined;
  readonly reason: string | undefined;
  readonly missed: boolean;
  readonly offersVideo: boolean;
  readonly video: boolean;
  /** The tab that has its media. */
  readonly owner: TabId | undefined;
  /** The tab that rings for it. */
  readonly alert: TabId | undefined;
  /** What the caller offers, until it is answered. */
  readonly offer: Offered | undefined;
}

/** What happened to a call, besides that it changed. */
export type CallNote =
  | { readonly type: "incoming" | "outgoing" | "answered" | "tryAgain" }
  | { readonly type: "ended"; readonly side: "us" | "peer" }
  | { readonly type: "unreachable"; readonly why: string };

/** An event that is about no call. */
export type PlainEvent = Exclude<PhoneEvent, { readonly call: import("./types.js").Call }>;

/** What the media of a call have to do. */
export type MediaOrder = MediaAct | { readonly act: "update-offered"; readonly offer: Offered; readonly by: string | null };

/** What the driver tells. */
export type Told =
  | { readonly about: "call"; readonly view: CallView; readonly note?: CallNote }
  | { readonly about: "phone"; readonly event: PlainEvent }
  | { readonly about: "media"; readonly to: TabId; readonly call: CallId; readonly order: MediaOrder }
  | { readonly about: "servers"; readonly servers: readonly RTCIceServer[] };

/** How everything stands, for a tab that comes. */
export interface Snapshot {
  readonly presence: Presence;
  readonly calls: readonly CallView[];
  readonly policy: Policy;
  readonly servers: readonly RTCIceServer[];
}

/** What a tab can ask of the driver, and what it gets. */
export interface Requests {
  snapshot: { ask: Record<never, never>; get: Snapshot };
  /** Waits a moment for the node to say where STUN and TURN are. */
  servers: { ask: Record<never, never>; get: readonly RTCIceServer[] };
  people: { ask: Record<never, never>; get: People };
  command: { ask: { command: CoreCommand }; get: string | null };
  place: { ask: { command: CoreCommand; claimedName: string | undefined; video: boolean }; get: CallId };
  answer: { ask: { call: CallId; sdp: string; screen: boolean; video: boolean }; get: null };
  flowing: { ask: { call: CallId; flowing: boolean }; get: null };
  policy: { ask: { policy: Policy }; get: null };
  node: { ask: Record<never, never>; get: { uri: string; did: Did | undefined } };
  stop: { ask: Record<never, never>; get: null };
}

export type RequestName = keyof Requests;
type Ask = { [K in RequestName]: { readonly do: K } & Requests[K]["ask"] }[RequestName];

/** Answers requests; the driver, in the tab that leads. */
export interface Server {
  serve(from: TabId, ask: Ask): Promise<unknown>;
  /** A tab came to the front. */
  front(tab: TabId): void;
  /** A tab is gone. */
  gone(tab: TabId): void;
}

export type { Ask };

type Message =
  | { readonly kind: "ask"; readonly from: TabId; readonly id: number; readonly ask: Ask }
  | { readonly kind: "got"; readonly to: TabId; readonly id: number; readonly got?: unknown; readonly error?: { code: ErrorCode; message: string } }
  | { readonly kind: "told"; readonly told: Told }
  | { readonly kind: "leads"; readonly tab: TabId }
  | { readonly kind: "front"; readonly from: TabId }
  | { readonly kind: "gone"; readonly from: TabId }
  | { readonly kind: "profile" }
  | { readonly kind: "history"; readonly entry: HistoryEntry };

interface Waiting {
  readonly ask: Ask;
  resolve(got: unknown): void;
  reject(error: DsipError): void;
}

/** One tab's end. */
export class Bus {
  readonly tab: TabId = crypto.randomUUID();
  readonly #channel: BroadcastChannel;
  readonly #waiting = new Map<number, Waiting>();
  readonly #lifetime = new AbortController();
  #next = 0;
  #server: Server | undefined;
  #listener: (told: Told) => void = () => {};
  #onLeader: () => void = () => {};

  constructor(readonly name: string) {
    this.#channel = new BroadcastChannel(`dsip:${name}`);
    this.#channel.onmessage = ({ data }: MessageEvent<Message>) => void this.#heard(data);
  }

  /**
   * Joins the tabs. Whichever is first in line for the lock makes the driver; `led` is called whenever another one took over,
   * and everything it told before is void.
   */
  join(makeServer: () => Promise<Server>, listener: (told: Told) => void, led: () => void): void {
    this.#listener = listener;
    this.#onLeader = led;
    const options = { signal: this.#lifetime.signal };
    const lead = async (): Promise<void> => {
      this.#server = await makeServer();
      this.#post({ kind: "leads", tab: this.tab });
      this.#lead();
      // The lock is held until this tab ends, or leaves.
      await new Promise<void>((resolve) => this.#lifetime.signal.addEventListener("abort", () => resolve()));
    };
    navigator.locks.request(`dsip:${this.name}`, options, lead).catch((thrown: unknown) => {
      if (!this.#lifetime.signal.aborted) this.#failed(asDsipError(thrown));
    });
    addEventListener("pagehide", () => this.#post({ kind: "gone", from: this.tab }), options);
    const front = (): void => {
      if (document.visibilityState === "visible") this.front();
    };
    document.addEventListener("visibilitychange", front, options);
    addEventListener("focus", front, options);
    front();
  }

  get leads(): boolean {
    return this.#server !== undefined;
  }

  front(): void {
    this.#server?.front(this.tab);
    this.#post({ kind: "front", from: this.tab });
  }

  /** Asks the driver, wherever it is. What is asked while nobody leads waits. */
  ask<K extends RequestName>(name: K, ask: Requests[K]["ask"]): Promise<Requests[K]["get"]> {
    const whole = { do: name, ...ask } as Ask;
    if (this.#server !== undefined) return this.#server.serve(this.tab, whole) as Promise<Requests[K]["get"]>;
    if (this.#lifetime.signal.aborted) return Promise.reject(new DsipError("stopped", "the phone was stopped"));
    return new Promise((resolve, reject) => {
      const id = ++this.#next;
      this.#waiting.set(id, { ask: whole, resolve: (got) => resolve(got as Requests[K]["get"]), reject });
      // A leader that is there answers; one that comes is asked again.
      this.#post({ kind: "ask", from: this.tab, id, ask: whole });
    });
  }

  /** Tells every tab, this one first. */
  tell(told: Told): void {
    if (told.about !== "media" || told.to === this.tab) this.#listener(told);
    if (told.about !== "media" || told.to !== this.tab) this.#post({ kind: "told", told });
  }

  leave(): void {
    if (this.#lifetime.signal.aborted) return;
    this.#post({ kind: "gone", from: this.tab });
    this.#lifetime.abort();
    this.#server = undefined;
    this.#failed(new DsipError("stopped", "the phone was stopped"));
    this.#channel.close();
  }

  #lead(): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#onLeader();
    for (const { ask, resolve, reject } of waiting) {
      this.#server?.serve(this.tab, ask).then(resolve, (thrown: unknown) => reject(asDsipError(thrown)));
    }
  }

  #failed(error: DsipError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  async #heard(message: Message): Promise<void> {
    switch (message.kind) {
      case "ask": {
        if (this.#server === undefined) return;
        const { from: to, id, ask } = message;
        try {
          this.#post({ kind: "got", to, id, got: await this.#server.serve(to, ask) });
        } catch (thrown) {
          const { code, message: words } = asDsipError(thrown);
          this.#post({ kind: "got", to, id, error: { code, message: words } });
        }
        return;
      }
      case "got": {
        const waiting = message.to === this.tab ? this.#waiting.get(message.id) : undefined;
        if (waiting === undefined) return;
        this.#waiting.delete(message.id);
        if (message.error === undefined) waiting.resolve(message.got);
        else waiting.reject(new DsipError(message.error.code, message.error.message));
        return;
      }
      case "told":
        return this.#listener(message.told);
      case "leads":
        this.#onLeader();
        for (const [id, { ask }] of this.#waiting) this.#post({ kind: "ask", from: this.tab, id, ask });
        return;
      case "front":
        return this.#server?.front(message.from);
      case "gone":
        return this.#server?.gone(message.from);
      case "profile":
      case "history":
        return;
    }
  }

  #post(message: Message): void {
    if (!this.#lifetime.signal.aborted || message.kind === "gone") this.#channel.postMessage(message);
  }
}
