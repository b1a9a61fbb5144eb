/**
 * The whole public surface of `@dsip/client`, as types. A program meets four things, in this order:
 *
 * ```text
 * openHome() ──► Home    who the owner is: keys, contacts, history, in this browser's storage
 * startPhone(home) ──► Phone    the running phone: its node, calls, requests; one per tab, one link per browser
 * phone.call(…), "incoming" ──► Call    one attempt to talk, and its media
 * DsipError    what could not be done, in a code for programs and a sentence for people
 * ```
 *
 * Everything that decides about the protocol runs in the WebAssembly module; what is here carries its words. A value called a
 * *claim* was only said by the other end; everything else in an event was verified.
 */

// ---------------------------------------------------------------------------------------------------------------- names --

/** A decentralised identifier, such as `did:key:z6Mk…`. An identity or a device. */
export type Did = string;
/** The id of a call: the ULID of its invite. */
export type CallId = string;
/** The id of an introduction: a request for permission to call. */
export type IntroductionId = string;
/** A reason token of the registry, `category.condition`, such as `user.declined`. */
export type ReasonToken = string;
/** Unix time in milliseconds. */
export type Millis = number;

/** Stops what was started by the call that returned it. Calling it twice is harmless. */
export type Unsubscribe = () => void;

// --------------------------------------------------------------------------------------------------------------- errors --

/** What could not be done. Each has a sentence in {@link DsipError.message}; programs translate by this code. */
export type ErrorCode =
  /** The text is no DID, alias or link. */
  | "target-invalid"
  /** The text is well-formed, but names nobody that could be found. */
  | "target-unknown"
  /** There is nowhere to dial: no place is known to reach them, and no node of our own. */
  | "nowhere-to-dial"
  /** The owner's node cannot be reached. */
  | "node-unreachable"
  /** This device's clock is so far from the node's that nothing it signs is accepted. */
  | "clock-wrong"
  /** The browser or the person refused the microphone. */
  | "microphone-denied"
  /** There is no microphone. */
  | "microphone-missing"
  /** Another program holds the microphone, or it failed to start. */
  | "microphone-busy"
  | "camera-denied"
  | "camera-missing"
  | "camera-busy"
  /** The person closed the picker for a screen, or the browser refused it. */
  | "screen-denied"
  /** The media engine refused a description. */
  | "media-failed"
  /** No such call, or it is over. */
  | "no-such-call"
  /** The rules do not allow this now; the message says why. */
  | "refused"
  /** As many calls as may be are up. */
  | "too-many-calls"
  /** A text is longer than its message may be. */
  | "too-long"
  /** The passphrase does not open this. */
  | "wrong-passphrase"
  /** The passkey ceremony was cancelled or failed. */
  | "passkey-failed"
  /** The file is no backup, or is damaged. */
  | "backup-invalid"
  /** The 24 words are not a phrase: a word is unknown, or their checksum is wrong. */
  | "words-invalid"
  /** There is an identity here already. */
  | "identity-exists"
  /** There is no identity here yet. */
  | "no-identity"
  /** This device has no identity key; the device that has it can do this. */
  | "no-identity-key"
  /** The delegation or the linking code does not fit. */
  | "link-invalid"
  /** The browser refuses storage, or it is full. */
  | "storage-failed"
  /** The browser lacks something without which nothing works; the message names it. */
  | "unsupported-browser"
  /** The phone was stopped. */
  | "stopped"
  /** A fault of this package. */
  | "internal";

/** The one error this package throws. */
export interface DsipErrorShape extends Error {
  readonly name: "DsipError";
  readonly code: ErrorCode;
}

// ----------------------------------------------------------------------------------------------------------------- home --

/** Options of `openHome`. */
export interface HomeOptions {
  /** The name of the IndexedDB database; `dsip` unless given. Two names are two owners. */
  readonly database?: string;
  /** Where the WebAssembly module is, or its bytes. By default the file beside this package's script. */
  readonly wasm?: string | URL | BufferSource | WebAssembly.Module;
}

/** Opens this browser's home. */
export type OpenHome = (options?: HomeOptions) => Promise<Home>;

/** Who somebody is here. Public: it names keys and holds none. */
export interface Profile {
  /** The identity; `undefined` on a device that waits for its delegation ({@link Home.beginLinking}). */
  readonly identity: Did | undefined;
  /** The device: the `did:key` of the key that signs. */
  readonly device: Did;
  /** What the owner calls themself. Others see it as a claim. */
  readonly name: string | undefined;
  /** Whether this device holds the identity key, and so can link, revoke and make a backup. */
  readonly hasIdentityKey: boolean;
  /** How the two keys rest. */
  readonly protection: Protection;
  /** When the delegation of this device runs out; it is renewed by whoever holds the identity key. */
  readonly delegatedUntil: Millis | undefined;
}

/** How keys are kept, as far as this browser can. Words for it are in the package's documentation. */
export interface Protection {
  /**
   * `non-extractable`: a WebCrypto key that no script can read, this one included.
   * `wrapped`: held by the WebAssembly module while the phone runs, stored encrypted under a key that cannot be extracted.
   */
  readonly device: "non-extractable" | "wrapped";
  /**
   * `browser`: encrypted under a non-extractable key of this browser profile: whoever can use the profile can use it.
   * `passphrase`, `passkey`: needs the person. `absent`: not on this device.
   */
  readonly identity: "browser" | "passphrase" | "passkey" | "absent";
  /** Whether the browser promised not to evict this storage. */
  readonly persistent: boolean;
}

/** What opens the identity key where it is guarded. Not needed while {@link Protection.identity} is `browser`. */
export type Unlock = { readonly passphrase: string } | { readonly passkey: true };

/** Keys, contacts, history: everything that outlives the page. */
export interface Home {
  /** Who is here; `undefined` on the first visit. */
  readonly profile: Profile | undefined;
  /** Calls back whenever the profile changes, in whatever tab. */
  onProfile(listener: (profile: Profile | undefined) => void): Unsubscribe;

  /** Makes an identity, a device key and the delegation between them. Takes well under two seconds. */
  create(options: { readonly name: string }): Promise<Profile>;
  /** Changes the name one claims from now on. */
  rename(name: string): Promise<Profile>;

  /** Guards the identity key by a passphrase, a passkey, or the browser alone. */
  guard(by: Unlock | { readonly browser: true }, current?: Unlock): Promise<Profile>;
  /** Whether this browser can guard by a passkey (WebAuthn with the PRF extension). */
  canUsePasskey(): Promise<boolean>;

  /** The identity key as an encrypted file (argon2id, XChaCha20-Poly1305). The same passphrase opens it elsewhere. */
  exportBackup(passphrase: string, unlock?: Unlock): Promise<Blob>;
  /** The identity key as 24 words. Whoever reads them is the owner. */
  exportWords(unlock?: Unlock): Promise<readonly string[]>;
  /** Brings an identity back from a file, with a new device key. Contacts come back too, if the file holds them. */
  importBackup(file: Blob, passphrase: string): Promise<Profile>;
  /** Brings an identity back from its words, with a new device key. */
  importWords(words: string | readonly string[], options: { readonly name: string }): Promise<Profile>;

  /** Begins on a new device: a device key, and the code that the first device scans. */
  beginLinking(options: { readonly name?: string }): Promise<LinkingRequest>;
  /** On the first device: reads the other's code, to be compared before anything is signed. */
  readLinkingRequest(code: string): Promise<LinkingOffer>;
  /** Devices this identity delegated to, as far as this device knows. */
  devices(): Promise<readonly Device[]>;
  /**
   * Takes a device's delegation back, as far as a `did:key` can: it is not renewed any more. `until` says when the last one runs
   * out; nothing that is published could end it before.
   */
  revoke(device: Did, unlock?: Unlock): Promise<{ readonly until: Millis }>;

  /** Forgets everything here. There is no way back without a backup. */
  erase(): Promise<void>;
}

/** A device of the owner. */
export interface Device {
  readonly did: Did;
  /** What the owner calls it. */
  readonly name: string | undefined;
  readonly isThis: boolean;
  readonly delegatedUntil: Millis;
  readonly revoked: boolean;
}

/** The new device's half of linking. */
export interface LinkingRequest {
  /** What the first device scans or pastes: `dsip-device:…`. */
  readonly code: string;
  /** What both screens must show alike. */
  readonly fingerprint: Fingerprint;
  /** Takes in what the first device shows in return. Throws `link-invalid` if it is for another device. */
  finish(code: string): Promise<Profile>;
  /** Forgets the device key again. */
  abandon(): Promise<void>;
}

/** The first device's half of linking. */
export interface LinkingOffer {
  readonly device: Did;
  /** The name that the new device gives itself: a claim. */
  readonly name: string | undefined;
  readonly fingerprint: Fingerprint;
  /** Signs, after the person compared the fingerprints. Returns the code that the new device scans. */
  approve(unlock?: Unlock): Promise<string>;
}

/** A short form of a key for people to compare. */
export interface Fingerprint {
  /** Groups of digits, for reading aloud. */
  readonly groups: readonly string[];
}

// ------------------------------------------------------------------------------------------------------------ addresses --

/** A node's address. */
export interface NodeAddress {
  /** `wss://host[:port]/path`. */
  readonly uri: string;
  /** The node's own DID. If given, nobody else's greeting will do (HEL-6). */
  readonly did?: Did;
}

/** A `dsip:` link: whom to reach, and advice on where. None of it is authority. */
export interface Link {
  readonly did: Did;
  readonly nodes: readonly NodeAddress[];
  /** What the link calls them: a claim. */
  readonly name: string | undefined;
}

/** Reads a `dsip:` link, `https://NODE/#dsip:…` as a node's page makes them, or a bare DID. Throws `target-invalid`. */
export type ParseLink = (text: string) => Promise<Link>;
/** Writes a `dsip:` link. */
export type FormatLink = (link: Link) => Promise<string>;

/** A QR code as squares: draw the dark ones with a margin of four. */
export interface QrCode {
  /** Squares on a side. */
  readonly size: number;
  /** Row by row, `1` is dark. */
  readonly modules: Uint8Array;
}
/** Makes a QR code. */
export type MakeQrCode = (text: string) => Promise<QrCode>;

/** Somebody who was found. */
export interface Located {
  readonly did: Did;
  /** The alias that led here. It names a document; the basis of trust says what that is worth. */
  readonly alias: string | undefined;
  /** Who said whose alias it is: its domain, or only our node, which could name somebody else (WPH-35). To be shown before a call. */
  readonly aliasBy: "domain" | "node" | undefined;
  /** What the link called them: a claim. */
  readonly claimedName: string | undefined;
  /** Where they can be dialled, best first. Empty means: only by our own node. */
  readonly places: readonly { readonly address: NodeAddress; readonly source: "link" | "document" | "dht" }[];
}

// --------------------------------------------------------------------------------------------------------------- people --

/** Somebody at the other end, and on what basis we say so. */
export interface Party {
  /** The verified identity. */
  readonly identity: Did;
  /** The device that signed. */
  readonly device: Did;
  /** The name it gives itself: a claim. Text, never markup. */
  readonly claimedName: string | undefined;
  /** The name the owner gave it. */
  readonly contactName: string | undefined;
  /** Whether it is in the address book. */
  readonly known: boolean;
  /** The basis of trust (TRU-1): a token such as `key`, `domain` …, to be put into words and never into a bare tick. */
  readonly basis: Basis;
}

/** The basis on which an identity is believed. */
export interface Basis {
  /** The sentence of the rules, in English. */
  readonly text: string;
  /** What it rests on, for catalogues. */
  readonly kind: "self-asserted" | "domain" | "gateway" | "other";
  /** The domain, where it rests on one. */
  readonly domain: string | undefined;
}

/** An entry of the address book. */
export interface Contact {
  readonly identity: Did;
  readonly name: string | undefined;
  /** May call without asking. */
  readonly allowed: boolean;
  /** Never rings, never shows in requests. */
  readonly blocked: boolean;
  /** Where they could be dialled when last found. */
  readonly places: readonly NodeAddress[];
  readonly addedAt: Millis;
}

/** Somebody who asks for permission to call. Never shown as a call (FC-2). */
export interface Request {
  readonly introduction: IntroductionId;
  readonly identity: Did;
  /** A claim. */
  readonly claimedName: string | undefined;
  /** What they say they want: a claim. */
  readonly purpose: string | undefined;
  readonly at: Millis;
}

/** A line of the history. */
export interface HistoryEntry {
  readonly call: CallId;
  readonly direction: "outgoing" | "incoming";
  readonly identity: Did;
  readonly claimedName: string | undefined;
  readonly contactName: string | undefined;
  readonly startedAt: Millis;
  readonly answeredAt: Millis | undefined;
  readonly endedAt: Millis;
  readonly reason: ReasonToken;
  /** It rang here and nobody answered anywhere. */
  readonly missed: boolean;
  readonly video: boolean;
}

/** Whom the phone lets in. People in the address book and holders of a live grant are always let in. */
export interface Policy {
  /** Whether strangers have to introduce themselves first (FC-10). `true` unless changed. */
  readonly firstContact: boolean;
  /** Whether to refuse every call for now. */
  readonly doNotDisturb: boolean;
}

// ---------------------------------------------------------------------------------------------------------------- phone --

/** Options of `startPhone`. */
export interface PhoneOptions {
  /** The owner's node. By default the one that served this page: `wss://HOST/dsip`. */
  readonly node?: NodeAddress;
  /** Whether to publish in the overlay where this identity can be dialled (DHT-31). Off unless the owner said yes. */
  readonly publish?: boolean;
  /**
   * Force media through a TURN server, for who does not want the other end to learn their address.
   * `all` unless given.
   */
  readonly iceTransportPolicy?: RTCIceTransportPolicy;
}

/** Starts the phone. It dials its own node at once, and keeps at it. Throws `no-identity` on a home without one. */
export type StartPhone = (home: Home, options?: PhoneOptions) => Promise<Phone>;

/** Whether calls can come in. */
export type Presence =
  | { readonly state: "connecting" }
  | { readonly state: "online"; readonly node: NodeAddress }
  | {
      readonly state: "offline";
      /** In the protocol's words, English. */
      readonly why: string;
      /** What it probably is, for catalogues. */
      readonly code: "node-unreachable" | "clock-wrong" | "refused" | "no-network";
    }
  /** Another program of the owner, such as another browser with the same device, took the place (WS-7). */
  | { readonly state: "replaced" };

/** What a phone tells. Every tab hears every event; only one tab holds the link. */
export type PhoneEvent =
  /** Calls can come in now, or not. */
  | { readonly type: "presence"; readonly presence: Presence }
  /** Somebody calls: ring. */
  | { readonly type: "incoming"; readonly call: Call; readonly party: Party }
  /** A call of ours was placed, here or in another tab. */
  | { readonly type: "outgoing"; readonly call: Call }
  /** Something about a call changed: see {@link Call.state} and the rest of it. */
  | { readonly type: "call"; readonly call: Call }
  /** A signed answer stands. */
  | { readonly type: "answered"; readonly call: Call; readonly by: AnsweredBy; readonly party: Party }
  /** A call is over. */
  | {
      readonly type: "ended";
      readonly call: Call;
      readonly reason: ReasonToken;
      readonly side: "us" | "peer";
      readonly missed: boolean;
    }
  /** Nobody could be dialled; nothing was ever sent. The call, or the introduction, is over. */
  | { readonly type: "unreachable"; readonly id: CallId | IntroductionId; readonly why: string }
  /** Both called each other at the same moment; try again after a random 1 to 4 s (GLR-5). */
  | { readonly type: "tryAgain"; readonly call: Call }
  /** Somebody asks for permission to call. It never rings. */
  | {
      readonly type: "introduced";
      readonly introduction: IntroductionId;
      readonly party: Party;
      readonly purpose: string | undefined;
      /** A contact token let them in at once. */
      readonly byToken: boolean;
    }
  /** Our introduction has left. Whether an answer ever comes is up to whoever got it (FC-3). */
  | { readonly type: "asked"; readonly introduction: IntroductionId }
  /** Somebody gave us leave to call them. */
  | { readonly type: "granted"; readonly introduction: IntroductionId; readonly by: Did; readonly until: Millis }
  /** Somebody refused our introduction. */
  | { readonly type: "introductionRejected"; readonly introduction: IntroductionId; readonly reason: ReasonToken }
  /** Contacts, requests or policy changed, here or in another tab. */
  | { readonly type: "contacts" }
  /** The history got a line. */
  | { readonly type: "history"; readonly entry: HistoryEntry }
  /** Something was refused that would have been dangerous otherwise. Nothing changed. */
  | {
      readonly type: "security";
      readonly what: "not-a-party" | "unverified" | "wrong-relay";
      /** In English, for whoever wants details. */
      readonly detail: string;
      readonly signer: Did | undefined;
      readonly call: CallId | undefined;
    }
  /** The other side, or a node, reports an error; it changes nothing by itself. */
  | { readonly type: "reported"; readonly call: CallId | undefined; readonly reason: ReasonToken }
  /** Something here went wrong that no command caused. */
  | { readonly type: "trouble"; readonly code: ErrorCode; readonly message: string };

/** The event of one type. */
export type PhoneEventOf<T extends PhoneEvent["type"]> = Extract<PhoneEvent, { readonly type: T }>;

/** A running phone. */
export interface Phone {
  readonly identity: Did;
  readonly device: Did;
  readonly presence: Presence;
  /** Calls that are not over, in the order they came. */
  readonly calls: readonly Call[];
  /** The call of that id, if it is not over. */
  callOf(id: CallId): Call | undefined;

  /** Hears one type of event. */
  on<T extends PhoneEvent["type"]>(type: T, listener: (event: PhoneEventOf<T>) => void): Unsubscribe;
  /** Hears all of them. */
  onAny(listener: (event: PhoneEvent) => void): Unsubscribe;

  /**
   * Whether this tab should ring, notify and play: of all open tabs exactly one has it for a call, so that a call rings
   * once. Every tab *shows* the call.
   */
  shouldAlert(call: CallId): boolean;

  /** Finds somebody by DID, alias (`name@domain`) or link. */
  locate(target: string): Promise<Located>;
  /** Calls somebody. Asks for the microphone (and camera) first; resolves as soon as the call exists. */
  call(whom: Located | Did, media?: MediaChoice): Promise<Call>;

  /** Asks somebody for permission to call. */
  introduce(
    whom: Located | Did,
    options?: { readonly purpose?: string; readonly contactToken?: string },
  ): Promise<IntroductionId>;
  /** Requests that wait for an answer, newest first. */
  requests(): Promise<readonly Request[]>;
  /** Lets them call from now on. */
  grant(introduction: IntroductionId): Promise<void>;
  /** Refuses. Saying nothing is an answer as well. */
  reject(introduction: IntroductionId): Promise<void>;

  contacts(): Promise<readonly Contact[]>;
  /** Puts somebody into the address book, or changes the name. They may call without asking. */
  allow(identity: Did, options?: { readonly name?: string; readonly places?: readonly NodeAddress[] }): Promise<void>;
  /** Takes somebody out of the address book. */
  remove(identity: Did): Promise<void>;
  /** Refuses whatever they send, silently. */
  block(identity: Did, blocked: boolean): Promise<void>;

  readonly policy: Policy;
  setPolicy(policy: Partial<Policy>): Promise<void>;

  /** Newest first. `before` continues an earlier answer. */
  history(options?: { readonly limit?: number; readonly before?: Millis }): Promise<readonly HistoryEntry[]>;
  clearHistory(): Promise<void>;

  /** A link to the owner: the DID, the node, the name. */
  myLink(): Promise<string>;
  /** The same as an address of the node's page, which works for people without a phone: `https://HOST/#dsip:…`. */
  myWebLink(): Promise<string>;

  /** Wake-up while no tab is open. */
  readonly wake: Wake;

  /** Ends calls, says good-bye, lets go of the link. */
  stop(): Promise<void>;
}

/** Web Push: the node wakes the service worker when a call waits. It carries nothing but the fact. */
export interface Wake {
  /** The node's application server key for `pushManager.subscribe`, or `undefined` if it does not push. */
  serverKey(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Registers a subscription with the node, signed by the device. */
  register(subscription: PushSubscriptionJSON): Promise<void>;
  /** Withdraws it. */
  unregister(): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------------- calls --

/** Who answered: a claim of the answering side (ANS-3). An unknown token is to be shown as "not a person". */
export type AnsweredBy = "user" | "screening" | "service" | "gateway" | "voicemail" | (string & {});

/**
 * Where a call stands.
 *
 * ```text
 * dialling ► invited ► ringing ─┐                      outgoing
 * incoming ─────────────────────┴► connecting ► talking ⇄ interrupted ► ended
 * ```
 */
export type CallState =
  /** Looking for a node that takes the invite. */
  | "dialling"
  /** The signed invite is on its way. */
  | "invited"
  /** A device of theirs rings. */
  | "ringing"
  /** Rings here. */
  | "incoming"
  /** Answered; the media path is being opened. */
  | "connecting"
  /** Encrypted media flows. */
  | "talking"
  /** The path was lost; another is being looked for. */
  | "interrupted"
  | "ended";

/** What to send when a call begins. */
export interface MediaChoice {
  /** `true` unless given. `false`: listen only. */
  readonly audio?: boolean | MediaTrackConstraints;
  /** `false` unless given. */
  readonly video?: boolean | MediaTrackConstraints;
}

/** Which way a kind of media goes, seen from here. */
export type Direction = "sendrecv" | "sendonly" | "recvonly" | "inactive";

/** One attempt to talk. The same object for the whole call, in each tab; media are in the tab where the person is. */
export interface Call {
  readonly id: CallId;
  readonly direction: "outgoing" | "incoming";
  readonly state: CallState;
  /** Who: verified, for incoming calls and once answered. For an outgoing call before that, who was called. */
  readonly party: Party | undefined;
  /** Whom we called or who calls: the identity alone, always there. */
  readonly identity: Did;
  /** What they, or the link that led to them, call them: a claim. */
  readonly claimedName: string | undefined;
  readonly answeredBy: AnsweredBy | undefined;
  /** The caller only listens or is listened to: a screened caller is to be told (SCR-1). */
  readonly screening: "none" | "we-screen" | "we-are-screened";
  readonly startedAt: Millis;
  readonly answeredAt: Millis | undefined;
  readonly endedAt: Millis | undefined;
  readonly reason: ReasonToken | undefined;
  readonly missed: boolean;
  /** Whether the media of this call are in this tab. In other tabs the call can be seen and ended, not heard. */
  readonly isHere: boolean;
  /** What the other end would like or does: whether video was offered or is on. */
  readonly offersVideo: boolean;
  readonly media: CallMedia;
  /** A change the peer asks for and the person has to decide, such as turning our camera on. `undefined` if none waits. */
  readonly pendingUpdate: PendingUpdate | undefined;

  /** Hears every change of this call, the last one at its end. */
  onChange(listener: (call: Call) => void): Unsubscribe;

  /** Answers in person. */
  accept(media?: MediaChoice): Promise<void>;
  /** Answers by listening only: the caller is told that this is screening (SCR-1). */
  screen(): Promise<void>;
  /** Takes over after screening: media both ways. */
  takeOver(media?: MediaChoice): Promise<void>;
  decline(): Promise<void>;
  /** Gives up, declines or hangs up, whatever fits. */
  hangUp(): Promise<void>;

  /** Puts the other end on hold: nothing is sent, nothing is played (`inactive`). */
  hold(held: boolean): Promise<void>;
  readonly held: boolean;
  /** The other end holds us. */
  readonly heldByPeer: boolean;

  /** Switches our camera. The first time the peer is asked by an update. */
  setCamera(on: boolean | MediaTrackConstraints): Promise<void>;
  /** Shares a screen, window or tab in place of or beside the camera; `false` ends it. */
  shareScreen(on: boolean): Promise<void>;
  /** Silences our microphone without telling anybody. */
  setMuted(muted: boolean): void;
  readonly muted: boolean;
  /** Chooses other devices while the call goes on. */
  useDevice(kind: "audioinput" | "videoinput", deviceId: string): Promise<void>;

  /** Verification and encryption, for the page with the details. */
  readonly security: CallSecurity;
  /** Real-time text; `undefined` while the other end does not offer it. */
  readonly text: RealTimeText | undefined;
}

/** A change that the peer proposes. */
export interface PendingUpdate {
  readonly wantsVideo: boolean;
  accept(media?: MediaChoice): Promise<void>;
  reject(): Promise<void>;
}

/** The streams of a call. Stable objects: bind them once, tracks come and go in them. */
export interface CallMedia {
  /** What we send: for the small picture. */
  readonly local: MediaStream;
  /** What we get: for the large picture and the sound. */
  readonly remote: MediaStream;
  /** The other end's screen, apart from their camera. */
  readonly remoteScreen: MediaStream;
  readonly localScreen: MediaStream;
  readonly audio: Direction;
  readonly video: Direction;
  readonly screen: Direction;
  /** The latest figures; `undefined` before the first second. */
  readonly quality: Quality | undefined;
}

/** How a call sounds and looks, about once a second. */
export interface Quality {
  /** Estimated mean opinion score, 1 to 4.5 (E-model, as the native phone computes it). */
  readonly mos: number;
  readonly level: "good" | "fair" | "poor" | "none";
  /** What is to blame if it is not good. */
  readonly reason: "loss" | "jitter" | "delay" | "no-packets" | "bandwidth" | "cpu" | undefined;
  readonly roundTripMs: number | undefined;
  readonly jitterMs: number | undefined;
  /** 0 to 1, over the last interval, of what we receive. */
  readonly loss: number;
  readonly bitsPerSecondIn: number;
  readonly bitsPerSecondOut: number;
  /** Sound levels, 0 to 1. */
  readonly levelIn: number;
  readonly levelOut: number;
  readonly video:
    | { readonly width: number; readonly height: number; readonly framesPerSecond: number; readonly framesDecoded: number }
    | undefined;
  readonly codecs: readonly string[];
  /** How media travels: straight, or through a TURN server. */
  readonly path: "direct" | "relayed" | undefined;
}

/** What stands behind the words "encrypted" and "verified". */
export interface CallSecurity {
  /** The fingerprint in the peer's signed description; DTLS refuses any other certificate (WEB-91). */
  readonly remoteFingerprint: string | undefined;
  readonly localFingerprint: string | undefined;
  /** Such as `DTLS 1.2` or `1.3`, and the SRTP suite. */
  readonly dtls: string | undefined;
  readonly srtp: string | undefined;
}

/** Text that appears as it is typed. */
export interface RealTimeText {
  /** Everything typed so far, ours and theirs, in the order it was begun. */
  readonly lines: readonly { readonly from: "us" | "peer"; readonly text: string; readonly finished: boolean }[];
  /** Types: characters, `\b` takes one back, `\n` ends the line. */
  send(text: string): void;
  onChange(listener: () => void): Unsubscribe;
}

// -------------------------------------------------------------------------------------------------------------- devices --

/** Microphones, cameras, loudspeakers. Labels are empty until the person allowed one of them. */
export interface MediaDevices {
  list(kind: MediaDeviceKind): Promise<readonly MediaDeviceInfo[]>;
  onChange(listener: () => void): Unsubscribe;
  /** Opens a microphone and reports its level, 0 to 1, many times a second, until stopped. */
  watchLevel(deviceId: string | undefined, listener: (level: number) => void): Promise<Unsubscribe>;
  /** Remembers the choice for later calls. */
  prefer(kind: MediaDeviceKind, deviceId: string | undefined): Promise<void>;
  preferred(kind: MediaDeviceKind): string | undefined;
}

/** The devices of a home. */
export type DevicesOf = (home: Home) => MediaDevices;

// ---------------------------------------------------------------------------------------------------------- conformance --

/** One outcome of a conformance vector. */
export interface VectorOutcome {
  readonly passed: boolean;
  /** Where expectation and outcome differ, for people. */
  readonly detail: string | undefined;
}
/** Runs one conformance vector (a JSON text) through the same WebAssembly module that makes calls. */
export type RunVector = (vector: string) => Promise<VectorOutcome>;
