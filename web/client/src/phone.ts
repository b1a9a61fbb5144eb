/** The phone, as one tab shows it. The tab that leads drives it. */

import { Bus, type CallView, type PlainEvent, type Told } from "./bus.js";
import { CallHandle, type Surroundings } from "./call.js";
import { capture, type Devices } from "./capture.js";
import * as wasm from "./wasm.js";
import { Driver } from "./driver.js";
import { DsipError } from "./errors.js";
import { locate, originOf } from "./locate.js";
import { Session } from "./media.js";
import type { Store } from "./store.js";
import type {
  Call,
  Contact,
  Did,
  HistoryEntry,
  Located,
  MediaChoice,
  Millis,
  NodeAddress,
  Phone,
  PhoneEvent,
  PhoneEventOf,
  PhoneOptions,
  Policy,
  Presence,
  Profile,
  Request,
  Unsubscribe,
  Wake,
} from "./types.js";

/** Ended calls that a tab still knows by id. */
const ENDED_KEPT = 16;

type Listener = (event: PhoneEvent) => void;

export class PhoneTab implements Phone, Surroundings {
  readonly identity: Did;
  readonly device: Did;
  readonly bus: Bus;
  readonly devices: Devices;
  readonly #store: Store;
  readonly #node: NodeAddress;
  readonly #name: () => string | undefined;
  readonly #icePolicy: RTCIceTransportPolicy;
  readonly #calls = new Map<string, CallHandle>();
  readonly #alerts = new Map<string, string | undefined>();
  readonly #listeners = new Map<string, Set<Listener>>();
  #presence: Presence = { state: "connecting" };
  #policy: Policy = { firstContact: true, doNotDisturb: false };
  /** The media of the call that is being placed; one at a time. */
  #placing: Session | undefined;
  #placed: Promise<unknown> = Promise.resolve();

  private constructor(store: Store, devices: Devices, profile: Profile & { identity: Did }, node: NodeAddress, options: PhoneOptions, name: () => string | undefined) {
    this.identity = profile.identity;
    this.device = profile.device;
    this.bus = new Bus(store.name);
    this.devices = devices;
    this.#store = store;
    this.#node = node;
    this.#name = name;
    this.#icePolicy = options.iceTransportPolicy ?? "all";
  }

  static async start(store: Store, devices: Devices, profile: Profile, options: PhoneOptions, name: () => string | undefined): Promise<PhoneTab> {
    const { identity } = profile;
    if (identity === undefined) throw new DsipError("no-identity", "this device waits for its identity");
    const node = options.node ?? { uri: `wss://${location.host}/dsip` };
    const phone = new PhoneTab(store, devices, { ...profile, identity }, node, options, name);
    const driver = { node, publish: options.publish ?? false };
    phone.bus.join(
      () => Driver.start(store, phone.bus, driver),
      (told) => phone.#told(told),
      () => void phone.#refresh(),
    );
    await phone.#refresh();
    return phone;
  }

  get presence(): Presence {
    return this.#presence;
  }

  get policy(): Policy {
    return this.#policy;
  }

  get calls(): readonly Call[] {
    return [...this.#calls.values()].filter(({ endedAt }) => endedAt === undefined);
  }

  callOf(id: string): Call | undefined {
    const call = this.#calls.get(id);
    return call?.endedAt === undefined ? call : undefined;
  }

  on<T extends PhoneEvent["type"]>(type: T, listener: (event: PhoneEventOf<T>) => void): Unsubscribe {
    return this.#listen(type, listener as Listener);
  }

  onAny(listener: Listener): Unsubscribe {
    return this.#listen("*", listener);
  }

  shouldAlert(call: string): boolean {
    return this.#alerts.get(call) === this.bus.tab;
  }

  // ---------------------------------------------------------------------------------------------------------------- calls --

  async locate(target: string): Promise<Located> {
    return locate(target, this.#node);
  }

  async call(whom: Located | Did, media: MediaChoice = {}): Promise<Call> {
    const located = await this.#located(whom);
    const [first] = located.places;
    if (first !== undefined) {
      const place = { uri: first.address.uri, did: first.address.did ?? null };
      await this.bus.ask("command", { command: { do: "approach", place } });
    }
    const stream = await capture(media, this.devices);
    const session = await this.session();
    try {
      const offer = await session.offer(stream);
      return await this.#inTurn(async () => {
        this.#placing = session;
        try {
          const command: wasm.CoreCommand = { do: "call", to: located.did, places: places(located), offer };
          const video = stream.getVideoTracks().length > 0;
          const id = await this.bus.ask("place", { command, claimedName: located.claimedName, video });
          const call = this.#calls.get(id);
          if (call === undefined) throw new DsipError("internal", "a call that nobody told of");
          return call;
        } finally {
          this.#placing = undefined;
        }
      });
    } catch (thrown) {
      session.close();
      stream.getTracks().forEach((track) => track.stop());
      throw thrown;
    }
  }

  /** A media session with the servers known by now, or in a moment. */
  async session(): Promise<Session> {
    return new Session(await this.bus.ask("servers", {}), this.#icePolicy);
  }

  // --------------------------------------------------------------------------------------------------------------- people --

  async introduce(whom: Located | Did, options: { readonly purpose?: string; readonly contactToken?: string } = {}): Promise<string> {
    const located = await this.#located(whom);
    const id = await this.bus.ask("command", {
      command: {
        do: "introduce",
        to: located.did,
        places: places(located),
        purpose: options.purpose ?? null,
        contactToken: options.contactToken ?? null,
      },
    });
    if (id === null) throw new DsipError("internal", "an introduction without an id");
    return id;
  }

  async requests(): Promise<readonly Request[]> {
    const { requests, blocked } = await this.bus.ask("people", {});
    return requests
      .filter(({ identity }) => !blocked.includes(identity))
      .map((request) => ({
        introduction: request.introduction,
        identity: request.identity,
        claimedName: request.claimedName ?? undefined,
        purpose: request.purpose ?? undefined,
        at: request.at,
      }))
      .sort((one, other) => other.at - one.at);
  }

  async grant(introduction: string): Promise<void> {
    await this.bus.ask("command", { command: { do: "grant", introduction } });
  }

  async reject(introduction: string): Promise<void> {
    await this.bus.ask("command", { command: { do: "reject-introduction", introduction } });
  }

  async contacts(): Promise<readonly Contact[]> {
    const [{ allowed, blocked, names, granted }, records] = await Promise.all([this.bus.ask("people", {}), this.#store.contacts()]);
    const known = new Map(records.map((record) => [record.identity, record]));
    const identities = new Set([...allowed, ...granted, ...blocked, ...Object.keys(names), ...known.keys()]);
    return [...identities].map((identity) => ({
      identity,
      name: names[identity],
      allowed: allowed.includes(identity) || granted.includes(identity),
      blocked: blocked.includes(identity),
      places: known.get(identity)?.places ?? [],
      addedAt: known.get(identity)?.addedAt ?? 0,
    }));
  }

  async allow(identity: Did, options: { readonly name?: string; readonly places?: readonly NodeAddress[] } = {}): Promise<void> {
    const known = (await this.#store.contacts()).find((contact) => contact.identity === identity);
    const places = options.places ?? known?.places ?? [];
    await this.#store.putContact({ identity, places, addedAt: known?.addedAt ?? Date.now() });
    await this.bus.ask("command", { command: { do: "allow", identity, allowed: true, name: options.name ?? null } });
  }

  async remove(identity: Did): Promise<void> {
    await this.bus.ask("command", { command: { do: "allow", identity, allowed: false, name: null } });
    await this.#store.removeContact(identity);
  }

  async block(identity: Did, blocked: boolean): Promise<void> {
    await this.bus.ask("command", { command: { do: "block", identity, blocked } });
  }

  async setPolicy(policy: Partial<Policy>): Promise<void> {
    this.#policy = { ...this.#policy, ...policy };
    await this.bus.ask("policy", { policy: this.#policy });
  }

  async history(options: { readonly limit?: number; readonly before?: Millis } = {}): Promise<readonly HistoryEntry[]> {
    return this.#store.history(options.limit ?? 100, options.before);
  }

  async clearHistory(): Promise<void> {
    await this.#store.clearHistory();
  }

  async myLink(): Promise<string> {
    const { uri, did } = await this.bus.ask("node", {});
    return wasm.formatLink({ did: this.identity, nodes: [{ uri, did: did ?? null }], name: this.#name() ?? null });
  }

  async myWebLink(): Promise<string> {
    return `${originOf(this.#node.uri)}/#${await this.myLink()}`;
  }

  readonly wake: Wake = {
    serverKey: async () => undefined,
    register: async () => {
      throw new DsipError("refused", "this node does not wake devices");
    },
    unregister: async () => {},
  };

  async stop(): Promise<void> {
    if (this.bus.leads) await this.bus.ask("stop", {});
    for (const call of this.#calls.values()) {
      if (call.isHere && call.endedAt === undefined && !this.bus.leads) await call.hangUp().catch(() => {});
    }
    this.bus.leave();
  }

  // --------------------------------------------------------------------------------------------------------------- inside --

  async #located(whom: Located | Did): Promise<Located> {
    if (typeof whom !== "string") return whom;
    const known = (await this.#store.contacts()).find(({ identity }) => identity === whom);
    const located = await this.locate(whom);
    const more = (known?.places ?? []).filter(({ uri }) => !located.places.some(({ address }) => address.uri === uri));
    return { ...located, places: [...located.places, ...more.map((address) => ({ address, source: "link" as const }))] };
  }

  /** A driver is there, or another one: what it says is how things stand. */
  async #refresh(): Promise<void> {
    const { presence, calls, policy } = await this.bus.ask("snapshot", {});
    this.#presence = presence;
    this.#policy = policy;
    const known = new Set(calls.map(({ id }) => id));
    for (const [id, call] of this.#calls) {
      if (known.has(id) || call.endedAt !== undefined) continue;
      // The tab that drove it is gone, and the call with it.
      this.#show({ ...call.last, state: "ended", endedAt: Date.now(), reason: "session.failed", alert: undefined }, { type: "ended", side: "us" });
    }
    for (const view of calls) this.#show(view);
    this.#emit({ type: "presence", presence });
  }

  #told(told: Told): void {
    switch (told.about) {
      case "call":
        return this.#show(told.view, told.note);
      case "media":
        return this.#calls.get(told.call)?.order(told.order);
      case "servers":
        return this.#calls.forEach((call) => call.useServers(told.servers));
      case "phone":
        return this.#happened(told.event);
    }
  }

  #happened(event: PlainEvent): void {
    if (event.type === "presence") this.#presence = event.presence;
    this.#emit(event);
  }

  #show(view: CallView, note?: Extract<Told, { about: "call" }>["note"]): void {
    let call = this.#calls.get(view.id);
    this.#alerts.set(view.id, view.alert);
    if (call === undefined) {
      call = new CallHandle(this, view);
      this.#calls.set(view.id, call);
      if (view.direction === "outgoing" && view.owner === this.bus.tab && this.#placing !== undefined) call.attach(this.#placing);
      this.#forget();
    }
    call.show(view);
    this.#emit({ type: "call", call });
    if (note === undefined) return;
    switch (note.type) {
      case "incoming":
        if (view.party !== undefined) this.#emit({ type: "incoming", call, party: view.party });
        return;
      case "answered":
        if (view.party !== undefined) this.#emit({ type: "answered", call, by: view.answeredBy ?? "user", party: view.party });
        return;
      case "ended":
        return this.#emit({ type: "ended", call, reason: view.reason ?? "session.failed", side: note.side, missed: view.missed });
      case "unreachable":
        return this.#emit({ type: "unreachable", id: view.id, why: note.why });
      case "outgoing":
      case "tryAgain":
        return this.#emit({ type: note.type, call });
    }
  }

  #forget(): void {
    const ended = [...this.#calls.values()].filter(({ endedAt }) => endedAt !== undefined);
    for (const { id } of ended.slice(0, -ENDED_KEPT)) {
      this.#calls.delete(id);
      this.#alerts.delete(id);
    }
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#placed.then(act, act);
    this.#placed = done.catch(() => {});
    return done;
  }

  #listen(type: string, listener: Listener): Unsubscribe {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  #emit(event: PhoneEvent): void {
    for (const type of [event.type, "*"]) {
      for (const listener of this.#listeners.get(type) ?? []) {
        try {
          listener(event);
        } catch (thrown) {
          // One listener's fault is not another's.
          reportError(thrown);
        }
      }
    }
  }
}

function places({ places }: Located): { uri: string; did: Did | null }[] {
  return places.map(({ address }) => ({ uri: address.uri, did: address.did ?? null }));
}
