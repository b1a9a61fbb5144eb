/**
 * The loop around one agent: it hands in what happens and carries out what comes out, in order. What must survive is on disk, and
 * what must be signed is signed, before the next output is looked at. It decides nothing.
 */

import * as wasm from "./wasm.js";
import type { CoreEvent, CoreOutput, CoreParty, Offered, TurnGrant } from "./wasm.js";
import type { Ask, Bus, CallNote, CallView, PlainEvent, Server, Snapshot, TabId } from "./bus.js";
import { DsipError, wordsOf } from "./errors.js";
import * as keys from "./keys.js";
import { fetchDocument, originOf } from "./locate.js";
import { Socket } from "./socket.js";
import type { Store } from "./store.js";
import type { HistoryEntry, NodeAddress, Party, Policy, Presence } from "./types.js";

/** How long a call waits for the node to say where STUN is answered; without it, media finds what paths need no help. */
const SERVERS_WAIT = 1500;
/** Whom a phone lets in until its owner says otherwise: strangers introduce themselves first. */
const POLICY: Policy = { firstContact: true, doNotDisturb: false };
/** A timer that is longer than this comes at once in some browsers. */
const LONGEST_SLEEP = 3_600_000;
/** How far clocks may be apart before nothing that is signed is accepted (01 §7). */
const SKEW = 300_000;
/** Ended calls that late tabs are still shown. */
const ENDED_KEPT = 16;

export interface DriverOptions {
  readonly node: NodeAddress;
  readonly publish: boolean;
}

/** The phone of one browser; lives in the tab that leads. */
export class Driver implements Server {
  readonly #store: Store;
  readonly #bus: Bus;
  readonly #agent: wasm.Agent;
  readonly #key: wasm.SigningKey;
  readonly #options: DriverOptions;
  readonly #links = new Map<number, Socket>();
  readonly #calls = new Map<string, CallView>();
  readonly #lifetime = new AbortController();
  #policy: Policy;
  #presence: Presence = { state: "connecting" };
  #servers: readonly RTCIceServer[] = [];
  #serversKnown: () => void = () => {};
  readonly #serversCome = new Promise<void>((resolve) => (this.#serversKnown = resolve));
  #nodeDid: string | undefined;
  #vapid: string | undefined;
  /** Who waits to hear what became of a registration. */
  #waking: { resolve(): void; reject(error: DsipError): void } | undefined;
  #front: TabId;
  #pumping: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(store: Store, bus: Bus, agent: wasm.Agent, key: wasm.SigningKey, policy: Policy, options: DriverOptions) {
    this.#store = store;
    this.#bus = bus;
    this.#agent = agent;
    this.#key = key;
    this.#policy = policy;
    this.#options = options;
    this.#front = bus.tab;
  }

  /** Starts the phone of the one who lives in `store`. */
  static async start(store: Store, bus: Bus, options: DriverOptions): Promise<Driver> {
    const [profile, device, memory, policy = POLICY, wake, seen] = await Promise.all([
      store.get("profile"),
      store.get("device"),
      store.get("memory"),
      store.get("policy"),
      store.get("wake"),
      store.seen(Date.now()),
    ]);
    if (profile?.identity === undefined || device === undefined) {
      throw new DsipError("no-identity", "there is no identity in this browser yet");
    }
    const key = await keys.signingKey(store, device);
    const setup: wasm.Setup = {
      identity: profile.identity,
      delegations: profile.delegation === undefined ? [] : [profile.delegation],
      name: profile.name ?? null,
      node: { uri: options.node.uri, did: options.node.did ?? null },
      publish: options.publish,
      policy,
      memory: memory ?? null,
      seen,
    };
    const driver = new Driver(store, bus, new wasm.Agent(setup, key), key, policy, options);
    const { signal } = driver.#lifetime;
    // A connection that the network took away is not missed until something is sent; this says so at once.
    addEventListener("offline", () => driver.#cutAll("this device has no network"), { signal });
    // Calls of every tab go over the connection of this one, and end with it: the browser asks first.
    addEventListener("beforeunload", (event) => driver.#isBusy && event.preventDefault(), { signal });
    addEventListener("pagehide", () => void driver.#farewell(), { signal });
    // WAK-2: it is said to the node whenever that knows this device anew.
    if (wake !== undefined) driver.#agent.command({ do: "wake", ...wake });
    void driver.#kick();
    return driver;
  }

  // ------------------------------------------------------------------------------------------------------------ requests --

  async serve(from: TabId, ask: Ask): Promise<unknown> {
    switch (ask.do) {
      case "snapshot": {
        const calls = [...this.#calls.values()];
        return { presence: this.#presence, calls, policy: this.#policy, servers: this.#servers } satisfies Snapshot;
      }
      case "servers":
        await Promise.race([this.#serversCome, new Promise((resolve) => setTimeout(resolve, SERVERS_WAIT))]);
        return this.#servers;
      case "people":
        return this.#agent.people();
      case "node":
        return { uri: this.#options.node.uri, did: this.#options.node.did ?? this.#nodeDid, vapid: this.#vapid };
      case "wake":
        return this.#wake(ask.at);
      case "command": {
        const done = this.#agent.command(ask.command);
        await this.#kick();
        if (ask.command.do === "allow" || ask.command.do === "block" || ask.command.do === "grant" || ask.command.do === "reject-introduction") {
          this.#tell({ type: "contacts" });
        }
        return done;
      }
      case "place":
        return this.#place(from, ask);
      case "answer":
        return this.#answer(from, ask);
      case "flowing": {
        const call = this.#calls.get(ask.call);
        if (call !== undefined && ["connecting", "talking", "interrupted"].includes(call.state)) {
          this.#change(ask.call, { state: ask.flowing ? "talking" : "interrupted" });
        }
        return null;
      }
      case "policy":
        await this.#store.put({ policy: ask.policy });
        this.#policy = ask.policy;
        this.#agent.command({ do: "policy", policy: ask.policy });
        await this.#kick();
        this.#tell({ type: "contacts" });
        return null;
      case "stop":
        await this.stop();
        return null;
    }
  }

  front(tab: TabId): void {
    this.#front = tab;
  }

  gone(tab: TabId): void {
    if (this.#front === tab) this.#front = this.#bus.tab;
    for (const call of this.#calls.values()) {
      if (call.endedAt !== undefined) continue;
      // Its media went with the tab.
      if (call.owner === tab) this.#agent.command({ do: "end", call: call.id });
      else if (call.alert === tab) this.#change(call.id, { alert: this.#front });
    }
    void this.#kick();
  }

  /** Ends calls and lets the last words leave. */
  async stop(): Promise<void> {
    await this.#farewell();
    this.#lifetime.abort();
    clearTimeout(this.#timer);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  /** Somebody talks, or is about to. */
  get #isBusy(): boolean {
    return [...this.#calls.values()].some(({ endedAt, owner }) => endedAt === undefined && owner !== undefined);
  }

  #farewell(): Promise<void> {
    for (const call of this.#calls.values()) {
      if (call.endedAt === undefined) this.#agent.command({ do: "end", call: call.id });
    }
    return this.#kick();
  }

  #place(from: TabId, ask: Extract<Ask, { do: "place" }>): string {
    const id = this.#agent.command(ask.command);
    if (id === null || ask.command.do !== "call") throw new DsipError("internal", "a call without an id");
    const view: CallView = {
      ...blank(id, "outgoing", ask.command.to),
      state: "dialling",
      claimedName: ask.claimedName,
      video: ask.video,
      owner: from,
    };
    this.#calls.set(id, view);
    this.#show(view, { type: "outgoing" });
    void this.#kick();
    return id;
  }

  async #answer(from: TabId, ask: Extract<Ask, { do: "answer" }>): Promise<null> {
    const call = this.#calls.get(ask.call);
    if (call?.state !== "incoming") throw new DsipError("no-such-call", "this call is not ringing any more");
    // Before the command: what it makes the media do has to find its tab.
    this.#calls.set(ask.call, { ...call, owner: from });
    try {
      this.#agent.command({ do: "accept", call: ask.call, sdp: ask.sdp, text: ask.text, by: ask.screen ? "screening" : "user" });
    } catch (thrown) {
      this.#calls.set(ask.call, call);
      throw thrown;
    }
    this.#change(ask.call, {
      state: "connecting",
      answeredAt: Date.now(),
      answeredBy: ask.screen ? "screening" : "user",
      screening: ask.screen ? "we-screen" : "none",
      video: ask.video,
      alert: undefined,
      offer: undefined,
    });
    await this.#kick();
    return null;
  }

  async #wake(at: { endpoint: string; p256dh: string; auth: string } | undefined): Promise<null> {
    const wake = at === undefined ? undefined : { ...at, madeFor: this.#vapid ?? null };
    this.#agent.command(wake === undefined ? { do: "sleep" } : { do: "wake", ...wake });
    await this.#store.put({ wake });
    this.#waking?.reject(new DsipError("refused", "another registration took the place of this one"));
    const settled = new Promise<void>((resolve, reject) => (this.#waking = { resolve, reject }));
    void this.#kick();
    await settled;
    return null;
  }

  // ------------------------------------------------------------------------------------------------------------- the loop --

  /** Carries out what there is; resolves when all of it is done. */
  #kick(): Promise<void> {
    this.#pumping ??= this.#pump().finally(() => (this.#pumping = undefined));
    return this.#pumping;
  }

  async #pump(): Promise<void> {
    for (;;) {
      const output = this.#agent.poll();
      if (output.type === "idle") return this.#rest(output.wake);
      try {
        await this.#carryOut(output);
      } catch (thrown) {
        const error = thrown instanceof DsipError ? thrown : new DsipError("internal", wordsOf(thrown));
        this.#tell({ type: "trouble", code: error.code, message: error.message });
        // A phone that cannot remember what it must remember may not go on.
        if (error.code === "storage-failed") return this.#cutAll("this browser stores nothing any more");
      }
    }
  }

  #rest(wake: number | null): void {
    clearTimeout(this.#timer);
    if (wake === null || this.#lifetime.signal.aborted) return;
    const pause = Math.min(Math.max((wake - wasm.tick()) / 1000, 0), LONGEST_SLEEP);
    this.#timer = setTimeout(() => {
      this.#agent.wake();
      void this.#kick();
    }, Math.ceil(pause));
  }

  async #carryOut(output: CoreOutput): Promise<void> {
    switch (output.type) {
      case "persist":
        if ("memory" in output) {
          await this.#store.put({ memory: output.memory });
        } else {
          await this.#store.addSeen(output.id, output.seen, output.until);
        }
        return;
      case "dial":
        return this.#dial(output.link, output.uri);
      case "transmit": {
        const frame = await this.#signed(output.frame, output.input);
        if (this.#links.get(output.link)?.send(frame) === false) this.#links.get(output.link)?.cut("the link has ended");
        return;
      }
      case "publish":
        // Beside the loop: nobody waits for the overlay.
        void this.#publish(await this.#signed(output.frame, output.input));
        return;
      case "close":
        this.#links.get(output.link)?.close();
        this.#links.delete(output.link);
        return;
      case "ask":
        void fetchDocument(output.did).then((text) => {
          this.#agent.document(output.ask, output.did, text);
          void this.#kick();
        });
        return;
      case "media": {
        const owner = this.#calls.get(output.call)?.owner;
        if (owner !== undefined) this.#bus.tell({ about: "media", to: owner, call: output.call, order: output.media });
        return;
      }
      case "event":
        return this.#heard(output.event);
      case "idle":
        return;
    }
  }

  async #signed(frame: string, input: string | null): Promise<string> {
    if (input === null || "held" in this.#key) return frame;
    return wasm.signed(frame, await this.#key.sign(new TextEncoder().encode(input)));
  }

  /** WPH-52: where, and for whom the greeting is, the agent has said. */
  #dial(link: number, uri: string): void {
    const report = (act: () => void): void => {
      if (this.#links.get(link) !== socket) return;
      act();
      void this.#kick();
    };
    const socket = new Socket(uri, {
      up: () => report(() => this.#agent.linkUp(link)),
      frame: (text) => report(() => this.#agent.received(link, text)),
      down: (why, replaced) =>
        report(() => {
          this.#links.delete(link);
          if (replaced) this.#setPresence({ state: "replaced" });
          this.#agent.linkDown(link, why, replaced);
        }),
    });
    this.#links.set(link, socket);
  }

  #cutAll(why: string): void {
    for (const socket of [...this.#links.values()]) socket.cut(why);
  }

  /** WPH-34. */
  async #publish(hint: string): Promise<void> {
    try {
      const origin = originOf(this.#options.node.uri);
      await fetch(`${origin}/dsip/v1/records`, { method: "POST", body: hint, credentials: "omit" });
    } catch {
      // The next one comes in four minutes (DHT-30).
    }
  }

  // --------------------------------------------------------------------------------------------------------------- events --

  async #heard(event: CoreEvent): Promise<void> {
    switch (event.type) {
      case "online":
        this.#nodeDid = event.relay;
        this.#vapid = event.vapid ?? undefined;
        this.#learnServers(event.uri, event.stunPort, event.turn);
        return this.#setPresence({ state: "online", node: { uri: event.uri, did: event.relay } });
      case "wake-registered":
        this.#waking?.resolve();
        this.#waking = undefined;
        return;
      case "wake-refused":
        this.#waking?.reject(new DsipError("refused", "the node does not wake this device"));
        this.#waking = undefined;
        return;
      case "renewed":
        return this.#learnServers(event.uri, event.stunPort, event.turn);
      case "offline":
        this.#serversKnown();
        return this.#setOffline(event.why);
      case "aside":
        return this.#setPresence({ state: "replaced" });
      case "dialling":
        return this.#change(event.call, { state: "dialling" });
      case "invited":
        return this.#change(event.call, { state: "invited" });
      case "progress":
        if (event.status === "ringing") this.#change(event.call, { state: "ringing" });
        return;
      case "incoming": {
        const view: CallView = {
          ...blank(event.call, "incoming", event.party.identity),
          state: "incoming",
          party: party(event.party),
          claimedName: event.party.claimedName ?? undefined,
          offersVideo: offersVideo(event.offer),
          offer: event.offer,
          alert: this.#front,
        };
        this.#calls.set(event.call, view);
        return this.#show(view, { type: "incoming" });
      }
      case "answered":
        return this.#change(
          event.call,
          {
            state: "connecting",
            party: party(event.party),
            answeredBy: event.by,
            answeredAt: Date.now(),
            screening: event.by === "screening" ? "we-are-screened" : "none",
          },
          { type: "answered" },
        );
      case "update-offered": {
        const call = this.#calls.get(event.call);
        if (call?.owner === undefined) return;
        if (event.by !== null) {
          const screening = event.by === "screening" ? "we-are-screened" : "none";
          this.#change(event.call, { answeredBy: event.by, screening });
        }
        const order = { act: "update-offered", offer: event.offer, by: event.by } as const;
        return this.#bus.tell({ about: "media", to: call.owner, call: event.call, order });
      }
      case "update-rejected":
        return this.#tell({ type: "reported", call: event.call, reason: event.reason });
      case "ended":
        return this.#end(event.call, event.reason, event.missed, { type: "ended", side: event.side });
      case "unreachable":
        if (this.#calls.has(event.call)) {
          await this.#end(event.call, "transport.unknown-recipient", false, { type: "unreachable", why: event.why });
        } else {
          this.#tell({ type: "unreachable", id: event.call, why: event.why });
        }
        return;
      case "try-again": {
        const call = this.#calls.get(event.call);
        if (call !== undefined) this.#show(call, { type: "tryAgain" });
        return;
      }
      case "introduced":
        this.#tell({
          type: "introduced",
          introduction: event.introduction,
          party: party(event.party),
          purpose: event.purpose ?? undefined,
          byToken: event.byToken,
        });
        return this.#tell({ type: "contacts" });
      case "asked":
        return this.#tell({ type: "asked", introduction: event.introduction });
      case "granted":
        this.#tell({ type: "granted", introduction: event.introduction, by: event.by, until: event.until * 1000 });
        return this.#tell({ type: "contacts" });
      case "introduction-rejected":
        return this.#tell({ type: "introductionRejected", introduction: event.introduction, reason: event.reason });
      case "security": {
        const { what, detail } = event;
        return this.#tell({ type: "security", what, detail, signer: event.signer ?? undefined, call: event.call ?? undefined });
      }
      case "reported":
        return this.#tell({ type: "reported", call: event.call ?? undefined, reason: event.reason });
      case "told":
      case "watch-ended":
        return;
    }
  }

  async #end(id: string, reason: string, missed: boolean, note: CallNote): Promise<void> {
    const call = this.#calls.get(id);
    if (call === undefined || call.endedAt !== undefined) return;
    const view: CallView = { ...call, state: "ended", endedAt: Date.now(), reason, missed, alert: undefined, offer: undefined };
    this.#calls.set(id, view);
    const ended = [...this.#calls.values()].filter(({ endedAt }) => endedAt !== undefined);
    for (const { id: old } of ended.slice(0, -ENDED_KEPT)) this.#calls.delete(old);
    this.#show(view, note);
    const entry: HistoryEntry = {
      call: id,
      direction: view.direction,
      identity: view.party?.identity ?? view.identity,
      claimedName: view.party?.claimedName ?? view.claimedName,
      contactName: view.party?.contactName ?? this.#agent.people().names[view.identity],
      startedAt: view.startedAt,
      answeredAt: view.answeredAt,
      endedAt: view.endedAt ?? Date.now(),
      reason,
      missed,
      video: view.video,
    };
    await this.#store.addHistory(entry);
    this.#tell({ type: "history", entry });
  }

  #change(id: string, change: Partial<CallView>, note?: CallNote): void {
    const call = this.#calls.get(id);
    if (call === undefined || call.endedAt !== undefined) return;
    const view = { ...call, ...change };
    this.#calls.set(id, view);
    this.#show(view, note);
  }

  #show(view: CallView, note?: CallNote): void {
    this.#bus.tell(note === undefined ? { about: "call", view } : { about: "call", view, note });
  }

  #tell(event: PlainEvent): void {
    this.#bus.tell({ about: "phone", event });
  }

  #setPresence(presence: Presence): void {
    this.#presence = presence;
    this.#tell({ type: "presence", presence });
  }

  async #setOffline(why: string): Promise<void> {
    if (this.#presence.state === "replaced") return;
    if (!navigator.onLine) return this.#setPresence({ state: "offline", why, code: "no-network" });
    this.#setPresence({ state: "offline", why, code: why.includes("hello") ? "refused" : "node-unreachable" });
    // A node that refuses what we sign may just read another clock.
    const apart = why.includes("hello") ? await clocksApart(this.#options.node.uri) : 0;
    if (apart > SKEW && this.#presence.state === "offline") {
      this.#setPresence({ state: "offline", why, code: "clock-wrong" });
    }
  }

  /** WPH-54: our node answers STUN and TURN at the host we dialled. */
  #learnServers(uri: string, stunPort: number | null, turn: TurnGrant | null): void {
    const host = new URL(uri).hostname;
    const servers: RTCIceServer[] = [];
    if (stunPort !== null) servers.push({ urls: `stun:${host}:${stunPort}` });
    if (turn !== null) {
      const urls: string[] = [];
      if (turn.udp !== null) urls.push(`turn:${host}:${turn.udp}?transport=udp`);
      if (turn.tcp !== null) urls.push(`turn:${host}:${turn.tcp}?transport=tcp`);
      if (turn.tls !== null) urls.push(`turns:${host}:${turn.tls}?transport=tcp`);
      servers.push({ urls, username: turn.username, credential: turn.password });
    }
    this.#servers = servers;
    this.#serversKnown();
    this.#bus.tell({ about: "servers", servers });
  }
}

function blank(id: string, direction: CallView["direction"], identity: string): CallView {
  return {
    id,
    direction,
    state: "dialling",
    party: undefined,
    identity,
    claimedName: undefined,
    answeredBy: undefined,
    screening: "none",
    startedAt: Date.now(),
    answeredAt: undefined,
    endedAt: undefined,
    reason: undefined,
    missed: false,
    offersVideo: false,
    video: false,
    owner: undefined,
    alert: undefined,
    offer: undefined,
  };
}

function party(party: CoreParty): Party {
  return {
    identity: party.identity,
    device: party.device,
    claimedName: party.claimedName ?? undefined,
    contactName: party.contactName ?? undefined,
    known: party.known,
    basis: { text: party.basis.text, kind: party.basis.kind, domain: party.basis.domain ?? undefined },
  };
}

function offersVideo(offer: Offered): boolean {
  return offer.media.some(({ type, direction }) => type === "video" && direction !== "inactive");
}

/** How far our clock is from the node's, in milliseconds; 0 if it does not say. */
async function clocksApart(uri: string): Promise<number> {
  try {
    const answer = await fetch(`${originOf(uri)}/dsip/v1/node`, { cache: "no-store", credentials: "omit" });
    const date = Date.parse(answer.headers.get("date") ?? "");
    return Number.isNaN(date) ? 0 : Math.abs(date - Date.now());
  } catch {
    return 0;
  }
}
