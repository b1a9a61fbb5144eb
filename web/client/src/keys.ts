/**
 * Where keys rest. The device key is the browser's own, which no script can read, where it has Ed25519; otherwise 32 octets under
 * an AES key that no script can read. The identity key is in memory for the time of one signature.
 */

import * as wasm from "./wasm.js";
import { DsipError } from "./errors.js";
import type { Box, DeviceKeyRecord, IdentityKeyRecord, Store } from "./store.js";
import type { Unlock } from "./types.js";

/** What a secret is sealed for: it opens for nothing else. */
type Purpose = "device" | "identity";

/** Makes a device key: the browser's if it can, ours otherwise. */
export async function makeDeviceKey(store: Store): Promise<{ record: DeviceKeyRecord; did: string }> {
  try {
    const pair = (await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"])) as CryptoKeyPair;
    const octets = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return { record: { kind: "non-extractable", key: pair.privateKey, public: octets }, did: wasm.didOfPublic(octets) };
  } catch {
    const secret = wasm.random(32);
    const did = wasm.didOfSecret(secret);
    const box = await seal(await wrapKey(store), secret, "device");
    secret.fill(0);
    return { record: { kind: "wrapped", box }, did };
  }
}

/** The device key, as an agent takes it. */
export async function signingKey(store: Store, record: DeviceKeyRecord): Promise<wasm.SigningKey> {
  if (record.kind === "wrapped") return { held: await open(await wrapKey(store), record.box, "device") };
  return {
    external: record.public,
    sign: (input) => crypto.subtle.sign({ name: "Ed25519" }, record.key, input),
  };
}

/** Puts an identity key away. `secret` is erased. */
export async function putAway(
  store: Store,
  secret: Uint8Array<ArrayBuffer>,
  by: Unlock | { readonly browser: true },
): Promise<IdentityKeyRecord> {
  try {
    if ("passphrase" in by) return { kind: "passphrase", file: wasm.sealSecret(secret, by.passphrase) };
    if ("passkey" in by) {
      const salt = wasm.random(32);
      const { credential, key } = await makePasskey(salt);
      return { kind: "passkey", box: await seal(key, secret, "identity"), credential, salt };
    }
    return { kind: "browser", box: await seal(await wrapKey(store), secret, "identity") };
  } finally {
    secret.fill(0);
  }
}

/** Takes an identity key out for one use; it is erased afterwards. */
export async function withIdentityKey<T>(
  store: Store,
  unlock: Unlock | undefined,
  use: (secret: Uint8Array<ArrayBuffer>) => T | Promise<T>,
): Promise<T> {
  const record = await store.get("identity");
  if (record === undefined) {
    throw new DsipError("no-identity-key", "the identity key is on another device; do this there");
  }
  const secret = await takeOut(store, record, unlock);
  try {
    return await use(secret);
  } finally {
    secret.fill(0);
  }
}

async function takeOut(
  store: Store,
  record: IdentityKeyRecord,
  unlock: Unlock | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  if (record.kind === "browser") return open(await wrapKey(store), record.box, "identity");
  if (record.kind === "passphrase") {
    if (unlock === undefined || !("passphrase" in unlock)) {
      throw new DsipError("wrong-passphrase", "the identity key needs its passphrase");
    }
    return wasm.openSecret(record.file, unlock.passphrase);
  }
  return open(await usePasskey(record.credential, record.salt), record.box, "identity");
}

/** The key under which keys lie, made the first time. */
async function wrapKey(store: Store): Promise<CryptoKey> {
  const known = await store.get("wrap");
  if (known !== undefined) return known;
  const wrap = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  await store.put({ wrap });
  return wrap;
}

async function seal(key: CryptoKey, secret: Uint8Array<ArrayBuffer>, purpose: Purpose): Promise<Box> {
  const iv = wasm.random(12);
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: label(purpose) }, key, secret);
  return { iv, sealed };
}

async function open(key: CryptoKey, box: Box, purpose: Purpose): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const algorithm = { name: "AES-GCM", iv: box.iv, additionalData: label(purpose) };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, box.sealed));
  } catch (cause) {
    throw new DsipError("storage-failed", "a key in this browser's storage is damaged", { cause });
  }
}

function label(purpose: Purpose): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`dsip/${purpose}-key`);
}

// ------------------------------------------------------------------------------------------------------------- passkeys --

/** Whether a passkey can guard: WebAuthn, a platform authenticator, and its PRF extension. */
export async function canUsePasskey(): Promise<boolean> {
  if (typeof PublicKeyCredential === "undefined") return false;
  try {
    if (!(await PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable())) return false;
    const capabilities = await PublicKeyCredential.getClientCapabilities?.();
    return capabilities?.["extension:prf"] ?? true;
  } catch {
    return false;
  }
}

async function makePasskey(salt: Uint8Array<ArrayBuffer>): Promise<{ credential: Uint8Array<ArrayBuffer>; key: CryptoKey }> {
  const options: CredentialCreationOptions = {
    publicKey: {
      challenge: wasm.random(32),
      rp: { name: "DSIP" },
      user: { id: wasm.random(16), name: "DSIP", displayName: "DSIP" },
      pubKeyCredParams: [
        { type: "public-key", alg: -8 },
        { type: "public-key", alg: -7 },
      ],
      authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
      extensions: { prf: { eval: { first: salt } } },
    },
  };
  const made = await ceremony(() => navigator.credentials.create(options));
  const credential = new Uint8Array(made.rawId);
  const first = made.getClientExtensionResults().prf?.results?.first;
  // Some authenticators only evaluate when they are asked, not when they are made.
  return { credential, key: first === undefined ? await usePasskey(credential, salt) : await derived(first) };
}

async function usePasskey(credential: Uint8Array<ArrayBuffer>, salt: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  const options: CredentialRequestOptions = {
    publicKey: {
      challenge: wasm.random(32),
      allowCredentials: [{ type: "public-key", id: credential }],
      userVerification: "required",
      extensions: { prf: { eval: { first: salt } } },
    },
  };
  const used = await ceremony(() => navigator.credentials.get(options));
  const first = used.getClientExtensionResults().prf?.results?.first;
  if (first === undefined) throw new DsipError("passkey-failed", "this passkey cannot guard a key; use a passphrase");
  return derived(first);
}

async function ceremony(act: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  try {
    const credential = await act();
    if (credential instanceof PublicKeyCredential) return credential;
  } catch (cause) {
    throw new DsipError("passkey-failed", "the passkey was not used", { cause });
  }
  throw new DsipError("passkey-failed", "the passkey was not used");
}

async function derived(secret: BufferSource): Promise<CryptoKey> {
  const material = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  const hkdf = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: label("identity") };
  return crypto.subtle.deriveKey(hkdf, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}
