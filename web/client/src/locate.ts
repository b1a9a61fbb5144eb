/** From what a person typed to where to dial: link, alias or DID, then document and records, each with its source (DSC). */

import * as wasm from "./wasm.js";
import { DsipError } from "./errors.js";
import type { Did, Located, NodeAddress } from "./types.js";

/** FET-2, FET-4: how long a document may take, and how large it may be. */
const FETCH_TIMEOUT = 5000;
const FETCH_LIMIT = 65_536;
/** WPH-32: what a node's answer with records may hold. */
const RECORDS_LIMIT = 300_000;
/** How long a call waits for records; a link or a document may do without. */
const RECORDS_TIMEOUT = 4000;

/** The origin of a node's HTTPS: the host and port of its WebSocket. */
export function originOf(uri: string): string {
  const { host } = new URL(uri);
  return `https://${host}`;
}

/** Reads a link in any of its forms, or a bare DID. */
export function readLink(text: string): wasm.PlainLink {
  const trimmed = text.trim();
  const bare = /^did:/i.test(trimmed) ? `dsip:${normal(trimmed)}` : trimmed;
  return wasm.parseLink(fromWebLink(bare));
}

/** Finds somebody. `node` is the owner's, which answers what a browser cannot ask by itself. */
export async function locate(target: string, node: NodeAddress): Promise<Located> {
  const text = target.trim();
  const isAlias = !/^(dsip:|did:|https:)/i.test(text) && text.includes("@");
  if (!isAlias && !/^(dsip:|did:|https:)/i.test(text)) {
    const message = "this names nobody; write a DID (did:key:z6Mk…), an alias (bob@example.com) or a dsip: link";
    throw new DsipError("target-invalid", message);
  }
  const alias = isAlias ? text.toLowerCase() : undefined;
  const named = alias === undefined ? undefined : await didOfAlias(alias, node);
  const link: wasm.PlainLink = named === undefined ? readLink(text) : { did: named.did, nodes: [], name: null };
  const { did } = link;

  const [document, records] = await Promise.all([fetchDocument(did), fetchRecords(did, node)]);
  const places: { address: NodeAddress; source: "link" | "document" | "dht" }[] = [];
  const add = (source: "link" | "document" | "dht", found: readonly NodeAddress[]): void => {
    for (const address of found) {
      if (!places.some((known) => known.address.uri === address.uri && known.address.did === address.did)) {
        places.push({ address, source });
      }
    }
  };
  // DSC-2: what has authority goes first. A document that cannot be read says nothing.
  if (document !== undefined) add("document", quietly(() => wasm.documentPlaces(did, document)));
  add("dht", quietly(() => wasm.recordPlaces(did, records, document)));
  add("link", link.nodes.map(({ uri, did: node }) => (node === null ? { uri } : { uri, did: node })));
  return { did, alias, aliasBy: named?.by, claimedName: link.name ?? undefined, places };
}

/** The document of a `did:web`, fetched from its own host and from nobody else (WPH-36). */
export async function fetchDocument(did: Did): Promise<string | undefined> {
  const url = wasm.documentUrl(did);
  if (url === undefined || isPrivate(new URL(url).hostname)) return undefined;
  return fetchText(url, FETCH_TIMEOUT, FETCH_LIMIT).catch(() => undefined);
}

async function fetchRecords(did: Did, node: NodeAddress): Promise<readonly string[]> {
  try {
    const url = `${originOf(node.uri)}/dsip/v1/records/${encodeURIComponent(did)}`;
    const answer: unknown = JSON.parse(await fetchText(url, RECORDS_TIMEOUT, RECORDS_LIMIT));
    const records = member(answer, "records");
    return Array.isArray(records) ? records.filter((record) => typeof record === "string") : [];
  } catch {
    return [];
  }
}

/** WPH-35: WebFinger first, the node only where that gives nothing. */
async function didOfAlias(alias: string, node: NodeAddress): Promise<{ did: Did; by: "domain" | "node" }> {
  const unknown = new DsipError("target-unknown", `${alias} is not known; ask for a link instead`);
  const domain = alias.slice(alias.lastIndexOf("@") + 1);
  if (!/^[a-z0-9.-]+(:\d+)?$/.test(domain)) {
    throw new DsipError("target-invalid", `${alias} is no alias; one looks like bob@example.com`);
  }
  if (!isPrivate(domain.split(":")[0] ?? "")) {
    try {
      const url = `https://${domain}/.well-known/webfinger?resource=${encodeURIComponent(`acct:${alias}`)}`;
      const did = didOfWebFinger(JSON.parse(await fetchText(url, FETCH_TIMEOUT, FETCH_LIMIT)) as unknown);
      if (did !== undefined) return { did, by: "domain" };
    } catch {
      // The node may find it in the DNS, or where a browser may not look.
    }
  }
  try {
    const url = `${originOf(node.uri)}/dsip/v1/alias/${encodeURIComponent(alias)}`;
    const did = member(JSON.parse(await fetchText(url, FETCH_TIMEOUT, FETCH_LIMIT)) as unknown, "did");
    if (typeof did === "string") return { did, by: "node" };
  } catch {
    throw unknown;
  }
  throw unknown;
}

/** ALS-4: the link of the relation that says whose DID it is, or the subject's alias that is one. */
function didOfWebFinger(answer: unknown): Did | undefined {
  const links = member(answer, "links");
  for (const link of Array.isArray(links) ? (links as unknown[]) : []) {
    const href = member(link, "href");
    if (typeof href === "string" && /did/i.test(String(member(link, "rel"))) && href.startsWith("did:")) return href;
  }
  return undefined;
}

async function fetchText(url: string, timeout: number, limit: number): Promise<string> {
  const answer = await fetch(url, {
    signal: AbortSignal.timeout(timeout),
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
    cache: "no-store",
  });
  if (!answer.ok || answer.body === null) throw new DsipError("target-unknown", `${url} answers ${answer.status}`);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let [text, length] = ["", 0];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    length += value.length;
    if (length > limit) {
      await reader.cancel();
      throw new DsipError("target-unknown", `${url} answers with too much`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

/** WPH-20, WPH-22: a web link is the link it contains. */
function fromWebLink(text: string): string {
  const fragment = /^https:\/\/[^#]*#(.*)$/is.exec(text)?.[1];
  if (fragment === undefined) return text;
  return /^dsip%3a/i.test(fragment) ? decodeURIComponent(fragment) : fragment;
}

/** ID-3: scheme and method in lower case, the rest as it is. */
function normal(did: string): string {
  const [scheme = "", method = "", ...rest] = did.split(":");
  return [scheme.toLowerCase(), method.toLowerCase(), ...rest].join(":");
}

function isPrivate(host: string): boolean {
  return /^(localhost|.*\.(localhost|local|internal|lan|home\.arpa)|\d+(\.\d+){3}|\[.*\])$/i.test(host) || !host.includes(".");
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

function quietly(find: () => NodeAddress[]): NodeAddress[] {
  try {
    return find();
  } catch {
    return [];
  }
}
