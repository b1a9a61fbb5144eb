/** Who the owner is: keys, profile, backup, devices. */

import { Devices } from "./capture.js";
import * as wasm from "./wasm.js";
import { DsipError } from "./errors.js";
import * as keys from "./keys.js";
import { Store, type DeviceKeyRecord, type IdentityKeyRecord, type ProfileRecord } from "./store.js";
import type {
  Device,
  Did,
  Fingerprint,
  Home,
  LinkingOffer,
  LinkingRequest,
  Millis,
  Profile,
  Unlock,
  Unsubscribe,
} from "./types.js";

/** How long a delegation holds, as on the command line. */
const DELEGATED: Millis = 365 * 86_400_000;
/** A device whose clock is a little behind accepts it, too. */
const BACKDATED: Millis = 60_000;
/** The codes that go between two devices of one owner. */
const REQUEST = "dsip-device:";
const APPROVAL = "dsip-delegation:";
/** LNK-7. */
const LONGEST_NAME = 64;

export class HomeStore implements Home {
  readonly store: Store;
  readonly devicesChosen: Devices;
  readonly #listeners = new Set<(profile: Profile | undefined) => void>();
  readonly #channel: BroadcastChannel;
  #profile: Profile | undefined;

  private constructor(store: Store, devices: Devices) {
    this.store = store;
    this.devicesChosen = devices;
    this.#channel = new BroadcastChannel(`dsip-home:${store.name}`);
    this.#channel.onmessage = () => void this.#reload();
  }

  static async open(database: string): Promise<HomeStore> {
    const store = await Store.open(database);
    const home = new HomeStore(store, await Devices.of(store));
    home.#profile = await home.#read();
    await home.#renew();
    return home;
  }

  get profile(): Profile | undefined {
    return this.#profile;
  }

  onProfile(listener: (profile: Profile | undefined) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async create(options: { readonly name: string }): Promise<Profile> {
    const secret = wasm.random(32);
    return this.#settle(secret, named(options.name));
  }

  async rename(name: string): Promise<Profile> {
    const profile = await this.#existing();
    await this.store.put({ profile: { ...profile, name: named(name) } });
    return this.#changed();
  }

  async guard(by: Unlock | { readonly browser: true }, current?: Unlock): Promise<Profile> {
    const identity = await keys.withIdentityKey(this.store, current, (secret) => {
      return keys.putAway(this.store, secret.slice(), by);
    });
    await this.store.put({ identity });
    return this.#changed();
  }

  canUsePasskey(): Promise<boolean> {
    return keys.canUsePasskey();
  }

  // ---------------------------------------------------------------------------------------------------------------- backup --

  async exportBackup(passphrase: string, unlock?: Unlock): Promise<Blob> {
    const file = await keys.withIdentityKey(this.store, unlock, (secret) => wasm.sealSecret(secret, passphrase));
    return new Blob([file, "\n"], { type: "application/json" });
  }

  async exportWords(unlock?: Unlock): Promise<readonly string[]> {
    return keys.withIdentityKey(this.store, unlock, (secret) => wasm.wordsOfSecret(secret));
  }

  async importBackup(file: Blob, passphrase: string): Promise<Profile> {
    if (file.size > 65_536) throw new DsipError("backup-invalid", "this is no backup of an identity");
    return this.#settle(wasm.openSecret(await file.text(), passphrase), undefined);
  }

  async importWords(words: string | readonly string[], options: { readonly name: string }): Promise<Profile> {
    const secret = wasm.secretOfWords(typeof words === "string" ? words : words.join(" "));
    return this.#settle(secret, named(options.name));
  }

  // --------------------------------------------------------------------------------------------------------------- devices --

  async beginLinking(options: { readonly name?: string }): Promise<LinkingRequest> {
    if (this.#profile?.identity !== undefined) throw new DsipError("identity-exists", "there is an identity here already");
    const name = options.name === undefined ? undefined : named(options.name);
    const waiting = await this.store.get("profile");
    let device = waiting?.device;
    if (device === undefined) {
      const made = await keys.makeDeviceKey(this.store);
      device = made.did;
      await this.#put(made.record, undefined, { identity: undefined, device, name, delegation: undefined });
    }
    const did = device;
    const query = name === undefined ? "" : `?name=${encodeURIComponent(name)}`;
    return {
      code: `${REQUEST}${did}${query}`,
      fingerprint: fingerprintOf(did),
      finish: (code) => this.#finish(did, name, code),
      abandon: async () => {
        await this.store.put({ profile: undefined, device: undefined } as never);
        await this.#changed().catch(() => {});
      },
    };
  }

  async readLinkingRequest(code: string): Promise<LinkingOffer> {
    const [, device, query = ""] = /^dsip-device:(did:key:z[1-9A-HJ-NP-Za-km-z]+)(?:\?(.*))?$/.exec(code.trim()) ?? [];
    if (device === undefined) throw new DsipError("link-invalid", "this is not the code of a new device");
    const profile = await this.#existing();
    const { identity } = profile;
    if (identity === undefined) throw new DsipError("no-identity", "this device has no identity to share");
    const name = new URLSearchParams(query).get("name")?.slice(0, LONGEST_NAME);
    return {
      device,
      name,
      fingerprint: fingerprintOf(device),
      approve: (unlock) => this.#approve(device, name, unlock),
    };
  }

  async devices(): Promise<readonly Device[]> {
    const { device } = await this.#existing();
    const known = await this.store.devices();
    return known.map((one) => ({ ...one, isThis: one.did === device }));
  }

  async revoke(device: Did, unlock?: Unlock): Promise<{ readonly until: Millis }> {
    const known = (await this.store.devices()).find(({ did }) => did === device);
    if (known === undefined) throw new DsipError("link-invalid", "this identity did not delegate to that device");
    if (device === this.#profile?.device) throw new DsipError("refused", "a device does not revoke itself; erase it");
    // Only who could delegate may take it back.
    await keys.withIdentityKey(this.store, unlock, () => {});
    await this.store.putDevice({ ...known, revoked: true });
    await this.#changed();
    return { until: known.delegatedUntil };
  }

  async erase(): Promise<void> {
    await this.store.erase();
    this.#profile = undefined;
    this.#channel.postMessage(null);
    this.#tell();
  }

  // --------------------------------------------------------------------------------------------------------------- inside --

  /** Makes this browser the home of the identity of `secret`, with a new device key. */
  async #settle(secret: Uint8Array<ArrayBuffer>, name: string | undefined): Promise<Profile> {
    if (this.#profile?.identity !== undefined) {
      secret.fill(0);
      throw new DsipError("identity-exists", "there is an identity here already");
    }
    const made = await keys.makeDeviceKey(this.store);
    const identity = wasm.didOfSecret(secret);
    const { text, until } = delegated(secret, made.did);
    const record = await keys.putAway(this.store, secret, { browser: true });
    await this.store.putDevice({ did: made.did, name, delegatedUntil: until, revoked: false });
    // Last, so that a profile is never there without its keys.
    await this.#put(made.record, record, { identity, device: made.did, name, delegation: text });
    void navigator.storage?.persist?.().catch(() => false);
    return this.#changed();
  }

  async #approve(device: Did, name: string | undefined, unlock: Unlock | undefined): Promise<string> {
    const { text, until } = await keys.withIdentityKey(this.store, unlock, (secret) => delegated(secret, device));
    await this.store.putDevice({ did: device, name, delegatedUntil: until, revoked: false });
    await this.#changed();
    return `${APPROVAL}${base64url(text)}`;
  }

  async #finish(device: Did, name: string | undefined, code: string): Promise<Profile> {
    const trimmed = code.trim();
    if (!trimmed.startsWith(APPROVAL)) throw new DsipError("link-invalid", "this is not the answer of the first device");
    const text = fromBase64url(trimmed.slice(APPROVAL.length));
    const { subject, until } = wasm.adopt(text, device);
    await this.store.putDevice({ did: device, name, delegatedUntil: until, revoked: false });
    await this.store.put({ profile: { identity: subject, device, name, delegation: text } });
    void navigator.storage?.persist?.().catch(() => false);
    return this.#changed();
  }

  /** Where the identity key is at hand, the delegation of this device is made anew half-way. */
  async #renew(): Promise<void> {
    const profile = await this.store.get("profile");
    const identity = await this.store.get("identity");
    if (profile?.delegation === undefined || identity?.kind !== "browser") return;
    if (wasm.delegatedUntil(profile.delegation) - Date.now() > DELEGATED / 2) return;
    const { text, until } = await keys.withIdentityKey(this.store, undefined, (secret) => delegated(secret, profile.device));
    await this.store.put({ profile: { ...profile, delegation: text } });
    const known = (await this.store.devices()).find(({ did }) => did === profile.device);
    await this.store.putDevice({ did: profile.device, name: known?.name, delegatedUntil: until, revoked: false });
    this.#profile = await this.#read();
  }

  async #put(device: DeviceKeyRecord, identity: IdentityKeyRecord | undefined, profile: ProfileRecord): Promise<void> {
    await this.store.put(identity === undefined ? { device, profile } : { device, identity, profile });
  }

  async #existing(): Promise<ProfileRecord> {
    const profile = await this.store.get("profile");
    if (profile === undefined) throw new DsipError("no-identity", "there is no identity in this browser yet");
    return profile;
  }

  async #read(): Promise<Profile | undefined> {
    const [profile, device, identity] = await Promise.all([
      this.store.get("profile"),
      this.store.get("device"),
      this.store.get("identity"),
    ]);
    if (profile === undefined || device === undefined) return undefined;
    return {
      identity: profile.identity,
      device: profile.device,
      name: profile.name,
      hasIdentityKey: identity !== undefined,
      protection: {
        device: device.kind,
        identity: identity?.kind ?? "absent",
        persistent: (await navigator.storage?.persisted?.().catch(() => false)) ?? false,
      },
      delegatedUntil: profile.delegation === undefined ? undefined : wasm.delegatedUntil(profile.delegation),
    };
  }

  async #reload(): Promise<void> {
    this.#profile = await this.#read().catch(() => undefined);
    this.#tell();
  }

  async #changed(): Promise<Profile> {
    this.#profile = await this.#read();
    this.#channel.postMessage(null);
    this.#tell();
    if (this.#profile === undefined) throw new DsipError("no-identity", "there is no identity in this browser");
    return this.#profile;
  }

  #tell(): void {
    for (const listener of this.#listeners) listener(this.#profile);
  }
}

function delegated(secret: Uint8Array, device: Did): { text: string; until: Millis } {
  const now = Date.now();
  return { text: wasm.delegate(secret, device, now - BACKDATED, now + DELEGATED), until: now + DELEGATED };
}

function fingerprintOf(did: Did): Fingerprint {
  return { groups: wasm.fingerprint(did) };
}

function named(name: string): string {
  const tidy = name.trim();
  if ([...tidy].length > LONGEST_NAME) throw new DsipError("too-long", `a name has at most ${LONGEST_NAME} characters`);
  if (tidy === "") throw new DsipError("refused", "a name has at least one character");
  return tidy;
}

function base64url(text: string): string {
  const octets = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...octets)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64url(text: string): string {
  try {
    const octets = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(octets);
  } catch (cause) {
    throw new DsipError("link-invalid", "this code is damaged", { cause });
  }
}
