/**
 * What outlives the page, in IndexedDB. A write is done when the browser has promised to have it on disk.
 */

import { DsipError } from "./errors.js";
import type { Did, HistoryEntry, Millis, NodeAddress } from "./types.js";

const VERSION = 1;
/** Lines of history that are kept; the oldest go first. */
const HISTORY_LIMIT = 2000;

/** How the device key rests. */
export type DeviceKeyRecord =
  | { readonly kind: "non-extractable"; readonly key: CryptoKey; readonly public: Uint8Array<ArrayBuffer> }
  | { readonly kind: "wrapped"; readonly box: Box };

/** How the identity key rests. */
export type IdentityKeyRecord =
  | { readonly kind: "browser"; readonly box: Box }
  | { readonly kind: "passphrase"; readonly file: string }
  | { readonly kind: "passkey"; readonly box: Box; readonly credential: Uint8Array<ArrayBuffer>; readonly salt: Uint8Array<ArrayBuffer> };

/** AES-GCM ciphertext. */
export interface Box {
  readonly iv: Uint8Array<ArrayBuffer>;
  readonly sealed: ArrayBuffer;
}

/** Who the owner is. */
export interface ProfileRecord {
  readonly identity: Did | undefined;
  readonly device: Did;
  readonly name: string | undefined;
  /** The delegation of this device. */
  readonly delegation: string | undefined;
}

export interface DeviceRecord {
  readonly did: Did;
  readonly name: string | undefined;
  readonly delegatedUntil: Millis;
  readonly revoked: boolean;
}

export interface ContactRecord {
  readonly identity: Did;
  readonly places: readonly NodeAddress[];
  readonly addedAt: Millis;
}

/** The single values. */
export interface Values {
  profile: ProfileRecord;
  device: DeviceKeyRecord;
  identity: IdentityKeyRecord;
  /** The key under which keys are wrapped; cannot be extracted. */
  wrap: CryptoKey;
  /** What the agent remembers, as it put it. */
  memory: string;
  policy: { firstContact: boolean; doNotDisturb: boolean };
  preferred: Partial<Record<MediaDeviceKind, string>>;
}

interface SeenRecord {
  readonly id: string;
  readonly text: string;
  readonly until: number;
}

/** The database of one owner. */
export class Store {
  readonly name: string;
  readonly #database: IDBDatabase;

  private constructor(name: string, database: IDBDatabase) {
    this.name = name;
    this.#database = database;
    // Another tab erases everything: this one lets go.
    database.onversionchange = () => database.close();
  }

  static async open(name: string): Promise<Store> {
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = () => {
      const database = request.result;
      database.createObjectStore("values");
      database.createObjectStore("seen", { keyPath: "id" });
      database.createObjectStore("history", { keyPath: "call" }).createIndex("startedAt", "startedAt");
      database.createObjectStore("contacts", { keyPath: "identity" });
      database.createObjectStore("devices", { keyPath: "did" });
    };
    return new Store(name, await done(request));
  }

  async get<K extends keyof Values>(key: K): Promise<Values[K] | undefined> {
    return (await this.#read("values", (store) => store.get(key))) as Values[K] | undefined;
  }

  /** Writes all of these, or none. */
  async put(values: Partial<Values>): Promise<void> {
    await this.#write("values", (store) => {
      for (const [key, value] of Object.entries(values)) {
        if (value === undefined) store.delete(key);
        else store.put(value, key);
      }
    });
  }

  async seen(now: Millis): Promise<readonly string[]> {
    const all = (await this.#read("seen", (store) => store.getAll())) as SeenRecord[];
    const stale = all.filter(({ until }) => until * 1000 <= now);
    if (stale.length > 0) await this.#write("seen", (store) => stale.forEach(({ id }) => store.delete(id)));
    return all.filter(({ until }) => until * 1000 > now).map(({ text }) => text);
  }

  async addSeen(id: string, text: string, until: number): Promise<void> {
    await this.#write("seen", (store) => store.put({ id, text, until } satisfies SeenRecord));
  }

  async addHistory(entry: HistoryEntry): Promise<void> {
    await this.#write("history", (store) => {
      store.put(entry);
      const count = store.count();
      count.onsuccess = () => {
        let surplus = count.result - HISTORY_LIMIT;
        if (surplus <= 0) return;
        const cursor = store.index("startedAt").openCursor();
        cursor.onsuccess = () => {
          if (cursor.result === null || surplus-- <= 0) return;
          cursor.result.delete();
          cursor.result.continue();
        };
      };
    });
  }

  async history(limit: number, before: Millis | undefined): Promise<readonly HistoryEntry[]> {
    const range = before === undefined ? null : IDBKeyRange.upperBound(before, true);
    const found: HistoryEntry[] = [];
    const transaction = this.#database.transaction("history");
    const cursor = transaction.objectStore("history").index("startedAt").openCursor(range, "prev");
    await new Promise<void>((resolve, reject) => {
      cursor.onerror = () => reject(failed(cursor.error));
      cursor.onsuccess = () => {
        if (cursor.result === null || found.length >= limit) return resolve();
        found.push(cursor.result.value as HistoryEntry);
        cursor.result.continue();
      };
    });
    return found;
  }

  async clearHistory(): Promise<void> {
    await this.#write("history", (store) => store.clear());
  }

  async contacts(): Promise<readonly ContactRecord[]> {
    return (await this.#read("contacts", (store) => store.getAll())) as ContactRecord[];
  }

  async putContact(contact: ContactRecord): Promise<void> {
    await this.#write("contacts", (store) => store.put(contact));
  }

  async removeContact(identity: Did): Promise<void> {
    await this.#write("contacts", (store) => store.delete(identity));
  }

  async devices(): Promise<readonly DeviceRecord[]> {
    return (await this.#read("devices", (store) => store.getAll())) as DeviceRecord[];
  }

  async putDevice(device: DeviceRecord): Promise<void> {
    await this.#write("devices", (store) => store.put(device));
  }

  /** Deletes the whole database. */
  async erase(): Promise<void> {
    this.#database.close();
    const request = indexedDB.deleteDatabase(this.name);
    await new Promise<void>((resolve, reject) => {
      request.onsuccess = () => resolve();
      request.onerror = () => reject(failed(request.error));
    });
  }

  async #read(from: string, ask: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
    try {
      return await done(ask(this.#database.transaction(from).objectStore(from)) as IDBRequest<unknown>);
    } catch (cause) {
      throw failed(cause);
    }
  }

  async #write(into: string, act: (store: IDBObjectStore) => unknown): Promise<void> {
    try {
      const transaction = this.#database.transaction(into, "readwrite", { durability: "strict" });
      act(transaction.objectStore(into));
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(failed(transaction.error));
        transaction.onerror = () => reject(failed(transaction.error));
      });
    } catch (cause) {
      throw failed(cause);
    }
  }
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(failed(request.error));
  });
}

function failed(cause: unknown): DsipError {
  if (cause instanceof DsipError) return cause;
  const full = cause instanceof DOMException && cause.name === "QuotaExceededError";
  const message = full ? "this browser's storage is full" : "this browser does not let the page store anything";
  return new DsipError("storage-failed", message, { cause });
}
