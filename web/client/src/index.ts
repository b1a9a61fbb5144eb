/**
 * Call anyone by DID from a browser.
 *
 * ```ts
 * import { openHome, startPhone } from "@dsip/client";
 *
 * const home = await openHome();
 * if (home.profile === undefined) await home.create({ name: "Alice" });
 * const phone = await startPhone(home);
 * phone.on("incoming", ({ call }) => call.accept());
 * const call = await phone.call(await phone.locate("dsip:did:key:z6Mk…?node=wss://node.example/dsip"));
 * ```
 */

import { HomeStore } from "./home.js";
import * as wasm from "./wasm.js";
import { DsipError } from "./errors.js";
import { readLink } from "./locate.js";
import { PhoneTab } from "./phone.js";
import type { DevicesOf, FormatLink, Home, MakeQrCode, OpenHome, ParseLink, StartPhone } from "./types.js";

export * from "./types.js";
export { DsipError } from "./errors.js";

const homes = new WeakMap<Home, HomeStore>();

/** Opens this browser's home. */
export const openHome: OpenHome = async (options = {}) => {
  if (typeof indexedDB === "undefined" || typeof navigator.locks === "undefined" || typeof crypto.subtle === "undefined") {
    const message = "this browser lacks what a phone needs (a secure page with storage, locks and cryptography)";
    throw new DsipError("unsupported-browser", message);
  }
  await wasm.load(options.wasm);
  const home = await HomeStore.open(options.database ?? "dsip");
  homes.set(home, home);
  return home;
};

/** Starts the phone of a home. */
export const startPhone: StartPhone = async (home, options = {}) => {
  const store = storeOf(home);
  const { profile } = store;
  if (profile === undefined) throw new DsipError("no-identity", "there is no identity in this browser yet");
  return PhoneTab.start(store.store, store.devicesChosen, profile, options, () => store.profile?.name);
};

/** The microphones, cameras and loudspeakers of this device, with what the owner prefers. */
export const devicesOf: DevicesOf = (home) => storeOf(home).devicesChosen;

/** Reads a `dsip:` link, a web link or a bare DID. */
export const parseLink: ParseLink = async (text) => {
  await wasm.load();
  const { did, nodes, name } = readLink(text);
  return {
    did,
    nodes: nodes.map(({ uri, did: node }) => (node === null ? { uri } : { uri, did: node })),
    name: name ?? undefined,
  };
};

/** Writes a `dsip:` link. */
export const formatLink: FormatLink = async ({ did, nodes, name }) => {
  await wasm.load();
  return wasm.formatLink({ did, nodes: nodes.map(({ uri, did: node }) => ({ uri, did: node ?? null })), name: name ?? null });
};

/** Makes a QR code. */
export const makeQrCode: MakeQrCode = async (text) => {
  await wasm.load();
  const code = wasm.qrCode(text);
  if (code === undefined) throw new DsipError("too-long", "this text does not fit a QR code");
  return code;
};

function storeOf(home: Home): HomeStore {
  const store = homes.get(home);
  if (store === undefined) throw new DsipError("internal", "a home that this package did not open");
  return store;
}
