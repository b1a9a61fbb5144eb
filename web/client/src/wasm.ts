/**
 * The WebAssembly module, loaded once, and its answers as values. Nothing else imports the generated bindings.
 */

import init, * as bindings from "../wasm/dsip_web.js";
import { DsipError } from "./errors.js";
import type { Basis, Did, Direction, ErrorCode, NodeAddress } from "./types.js";

/** Where the module comes from. */
export type Source = string | URL | BufferSource | WebAssembly.Module;

let loading: Promise<void> | undefined;

/** Loads the module, the first time it is called. */
export async function load(source?: Source): Promise<void> {
  loading ??= begin(source);
  try {
    await loading;
  } catch (cause) {
    loading = undefined;
    throw new DsipError("unsupported-browser", "the WebAssembly module of the phone did not load", { cause });
  }
}

async function begin(source: Source | undefined): Promise<void> {
  await init({ module_or_path: source ?? new URL("../wasm/dsip_web_bg.wasm", import.meta.url) });
}

/** What an answer of the module holds, or its error thrown. The module is this package's own, so its answers have its types. */
function unwrap<T>(answer: string): T {
  const parsed = JSON.parse(answer) as { ok?: T; error?: { code: ErrorCode; message: string } };
  if (parsed.error !== undefined) throw new DsipError(parsed.error.code, parsed.error.message);
  return parsed.ok as T;
}

function unwrapThrown<T>(act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    if (typeof thrown === "string") return unwrap<T>(thrown);
    throw thrown;
  }
}

/** Octets of the browser's randomness. */
export function random(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

// ----------------------------------------------------------------------------------------------------------------- keys --

export function didOfPublic(key: Uint8Array): Did {
  const did = bindings.didOfPublic(key);
  if (did === undefined) throw new DsipError("internal", "a public key is 32 octets long");
  return did;
}

export function didOfSecret(secret: Uint8Array): Did {
  const did = bindings.didOfSecret(secret);
  if (did === undefined) throw new DsipError("internal", "a key is 32 octets long");
  return did;
}

/** A delegation's text. Times in Unix milliseconds. */
export function delegate(secret: Uint8Array, device: Did, from: number, until: number): string {
  return unwrap<string>(bindings.delegate(secret, device, Math.floor(from / 1000), Math.floor(until / 1000)));
}

/** What a delegation for `device` says; throws `link-invalid` if it does not hold. */
export function adopt(delegation: string, device: Did): { subject: Did; until: number } {
  return unwrap<{ subject: Did; until: number }>(bindings.adopted(delegation, device, Date.now(), random(32)));
}

/** Until when a delegation holds by its own words. */
export function delegatedUntil(delegation: string): number {
  return bindings.renewed(delegation);
}

export function fingerprint(did: Did): readonly string[] {
  return bindings.fingerprint(did);
}

export function sealSecret(secret: Uint8Array, passphrase: string): string {
  return unwrap<string>(bindings.sealSecret(secret, passphrase, random(40)));
}

export function openSecret(file: string, passphrase: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(unwrapThrown(() => bindings.openSecret(file, passphrase)));
}

export function wordsOfSecret(secret: Uint8Array): readonly string[] {
  const words = bindings.wordsOfSecret(secret);
  if (words === undefined) throw new DsipError("internal", "a key is 32 octets long");
  return words.split(" ");
}

export function secretOfWords(words: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(unwrapThrown(() => bindings.secretOfWords(words)));
}

// ---------------------------------------------------------------------------------------------------------------- links --

/** A link as the module reads it. */
export interface PlainLink {
  did: Did;
  nodes: { uri: string; did: Did | null }[];
  name: string | null;
}

export function parseLink(text: string): PlainLink {
  return unwrap<PlainLink>(bindings.parseLink(text));
}

export function formatLink(link: PlainLink): string {
  return unwrap<string>(bindings.formatLink(JSON.stringify(link)));
}

export function qrCode(text: string): { size: number; modules: Uint8Array } | undefined {
  const [size, ...modules] = bindings.qrCode(text);
  return size === undefined ? undefined : { size, modules: Uint8Array.from(modules) };
}

/** The address of a `did:web` document; none for other methods. */
export function documentUrl(did: Did): string | undefined {
  return bindings.documentUrl(did);
}

/** Where a DID's document says that it can be dialled. */
export function documentPlaces(did: Did, document: string): NodeAddress[] {
  return placesOf(bindings.documentPlaces(did, document));
}

/** Where the record that stands among these says that a DID can be dialled; verified (DHT-29). */
export function recordPlaces(did: Did, records: readonly string[], document: string | undefined): NodeAddress[] {
  return placesOf(bindings.recordPlaces(did, [...records], document, Date.now(), random(32)));
}

function placesOf(answer: string): NodeAddress[] {
  const places = unwrap<{ uri: string; did: Did | null }[]>(answer);
  return places.map(({ uri, did }) => (did === null ? { uri } : { uri, did }));
}

// ------------------------------------------------------------------------------------------------------------- vectors --

export function runVector(text: string): { id: string; failure: string | null } {
  return JSON.parse(bindings.runVector(text)) as { id: string; failure: string | null };
}

// ------------------------------------------------------------------------------------------------------------- an agent --

/** A section of a description. */
export interface Section {
  readonly type: string;
  readonly direction: Direction;
  readonly purpose: string | null;
  readonly mid: string | null;
}

/** What a peer offers. */
export interface Offered {
  readonly sdp: string;
  readonly media: readonly Section[];
  /** RTT-1: the path for text; empty if it may be opened, null if it is not known. */
  readonly text: string | null;
}

export interface CoreParty {
  readonly identity: Did;
  readonly device: Did;
  readonly claimedName: string | null;
  readonly contactName: string | null;
  readonly known: boolean;
  readonly basis: { readonly text: string; readonly kind: Basis["kind"]; readonly domain: string | null };
}

export interface TurnGrant {
  readonly username: string;
  readonly password: string;
  readonly udp: number | null;
  readonly tcp: number | null;
  readonly tls: number | null;
}

/** What an agent tells. */
export type CoreEvent =
  | { type: "online"; relay: Did; uri: string; stunPort: number | null; turn: TurnGrant | null; vapid: string | null }
  | { type: "wake-registered"; until: number | null }
  | { type: "wake-refused"; reason: string | null }
  | { type: "renewed"; uri: string; stunPort: number | null; turn: TurnGrant }
  | { type: "offline"; why: string }
  | { type: "aside" }
  | { type: "dialling"; call: string; uri: string }
  | { type: "invited"; call: string; relay: Did }
  | { type: "progress"; call: string; status: string; device: Did }
  | { type: "incoming"; call: string; party: CoreParty; offer: Offered }
  | { type: "answered"; call: string; by: string; party: CoreParty; direction: Direction }
  | { type: "update-offered"; call: string; offer: Offered; by: string | null }
  | { type: "update-rejected"; call: string; reason: string }
  | { type: "ended"; call: string; reason: string; side: "us" | "peer"; missed: boolean }
  | { type: "unreachable"; call: string; why: string }
  | { type: "try-again"; call: string }
  | { type: "introduced"; introduction: string; party: CoreParty; purpose: string | null; byToken: boolean }
  | { type: "asked"; introduction: string; relay: Did }
  | { type: "granted"; introduction: string; by: Did; until: number }
  | { type: "introduction-rejected"; introduction: string; reason: string }
  | { type: "told"; watch: string; by: Did; event: string | null; state: string | null }
  | { type: "watch-ended"; watch: string; reason: string | null }
  | {
      type: "security";
      what: "not-a-party" | "unverified" | "wrong-relay";
      detail: string;
      signer: Did | null;
      call: string | null;
    }
  | { type: "reported"; call: string | null; reason: string };

/** What the media of a call have to do. */
export type MediaAct =
  | { act: "start"; remote: string | null }
  | { act: "candidates"; candidates: string[] }
  | { act: "end-of-candidates" }
  | { act: "apply"; sdp: string }
  | { act: "roll-back" }
  | { act: "adopt" }
  | { act: "text"; sdp: string }
  | { act: "stop" };

/** What an agent wants done, in order. */
export type CoreOutput =
  | { type: "persist"; memory: string }
  | { type: "persist"; seen: string; id: string; until: number }
  | { type: "dial"; link: number; uri: string; node: Did | null }
  | { type: "transmit"; link: number; frame: string; input: string | null }
  | { type: "publish"; frame: string; input: string | null }
  | { type: "close"; link: number }
  | { type: "ask"; ask: number; did: Did }
  | { type: "media"; call: string; media: MediaAct }
  | { type: "event"; event: CoreEvent }
  | { type: "idle"; wake: number | null };

interface Place {
  uri: string;
  did: Did | null;
}

export interface OwnOffer {
  sdp: string;
  purposes: Record<string, string>;
  text: string | null;
}

/** What a person asks of an agent. */
export type CoreCommand =
  | { do: "approach"; place: Place }
  | { do: "call"; to: Did; places: Place[]; offer: OwnOffer }
  | { do: "accept"; call: string; sdp: string; text: string | null; by: string }
  | { do: "decline"; call: string }
  | { do: "end"; call: string }
  | { do: "hang-up"; call: string; reason: string }
  | { do: "update"; call: string; offer: OwnOffer; by: string | null }
  | { do: "accept-update"; call: string; sdp: string; text: string | null }
  | { do: "reject-update"; call: string; reason: string }
  | { do: "candidate"; call: string; candidate: string; mid: string }
  | { do: "gathered"; call: string }
  | { do: "introduce"; to: Did; places: Place[]; purpose: string | null; contactToken: string | null }
  | { do: "grant"; introduction: string }
  | { do: "reject-introduction"; introduction: string }
  | { do: "allow"; identity: Did; allowed: boolean; name: string | null }
  | { do: "block"; identity: Did; blocked: boolean }
  | { do: "wake"; endpoint: string; p256dh: string; auth: string; madeFor: string | null }
  | { do: "sleep" }
  | { do: "policy"; policy: { firstContact: boolean; doNotDisturb: boolean } };

export interface Setup {
  identity: Did;
  delegations: readonly string[];
  name: string | null;
  node: Place | null;
  publish: boolean;
  policy: { firstContact: boolean; doNotDisturb: boolean };
  memory: string | null;
  seen: readonly string[];
}

export interface People {
  allowed: Did[];
  blocked: Did[];
  names: Record<Did, string>;
  granted: Did[];
  requests: { introduction: string; identity: Did; claimedName: string | null; purpose: string | null; at: number }[];
}

/** The key an agent signs with: in the module, or with the browser. */
export type SigningKey =
  | { readonly held: Uint8Array }
  | { readonly external: Uint8Array; sign(input: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> };

/** `proto`'s agent, with the clocks of the browser. */
export class Agent {
  readonly #phone: bindings.Phone;

  constructor(setup: Setup, key: SigningKey) {
    const [held, external] = "held" in key ? [key.held, undefined] : [undefined, key.external];
    try {
      this.#phone = new bindings.Phone(JSON.stringify(setup), held, external, random(32), tick(), Date.now());
    } catch (cause) {
      throw new DsipError("internal", `the phone does not start: ${String(cause)}`, { cause });
    }
  }

  poll(): CoreOutput {
    return JSON.parse(this.#phone.poll(tick(), Date.now())) as CoreOutput;
  }

  wake(): void {
    this.#phone.tick(tick(), Date.now());
  }

  received(link: number, frame: string): void {
    this.#phone.received(tick(), Date.now(), link, frame);
  }

  linkUp(link: number): void {
    this.#phone.linkUp(tick(), Date.now(), link);
  }

  linkDown(link: number, why: string, replaced = false): void {
    this.#phone.linkDown(tick(), Date.now(), link, why, replaced);
  }

  document(ask: number, did: Did, text: string | undefined): void {
    this.#phone.document(tick(), Date.now(), ask, did, text);
  }

  /** Carries out a command; the id of what it began, if it began something. */
  command(command: CoreCommand): string | null {
    return unwrap<string | null>(this.#phone.command(tick(), Date.now(), JSON.stringify(command)));
  }

  people(): People {
    return JSON.parse(this.#phone.people()) as People;
  }

  get busy(): boolean {
    return this.#phone.isBusy();
  }
}

/** The frame with its signature. */
export function signed(frame: string, signature: ArrayBuffer): string {
  const text = bindings.signed(frame, new Uint8Array(signature));
  if (text === undefined) throw new DsipError("internal", "a signature that does not fit its frame");
  return text;
}

/** The monotonic clock, in microseconds, as the agent counts. */
export function tick(): number {
  return Math.round(performance.now() * 1000);
}
