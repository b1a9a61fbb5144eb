/**
 * The media of one call: an RTCPeerConnection that does what the agent orders and nothing before. Offers are made from the very
 * connection that will carry the media (WEB-42); a description that would let it speak to the peer is applied only when the agent
 * says that a signed answer stands (WEB-90).
 */

import type { MediaOrder } from "./bus.js";
import type { Offered, OwnOffer } from "./wasm.js";
import { DsipError } from "./errors.js";
import { QualityMeter } from "./quality.js";
import { TextPath } from "./text.js";
import type { CallMedia, CallSecurity, Direction, Quality } from "./types.js";

/** What a video section is for, unless it is a camera (WEB-111). */
const SCREEN = "screen";
/** WEB §13: the least time that a path is given to come about. */
const CONNECTIVITY = 30_000;
/** The codecs there are DSIP ids for (WEB-38), and what goes with them. */
const CODECS = /^(audio\/opus|audio\/telephone-event|video\/(vp8|vp9|h264|av1|rtx|red|ulpfec))$/i;

/** What a session tells the call it belongs to. */
export interface SessionListener {
  candidate(candidate: string, mid: string): void;
  gathered(): void;
  /** Media flow, or stopped flowing. */
  flowing(flowing: boolean): void;
  /** There is no path, and there will be none. */
  failed(): void;
  /** Streams, directions or figures changed. */
  changed(): void;
  /** Sends an update that is installed locally; throws if it may not be sent. */
  update(offer: OwnOffer, by: string | null): Promise<void>;
  /** Sends our selection from the peer's update. */
  acceptUpdate(sdp: string, text: string | null): Promise<void>;
  rejectUpdate(): Promise<void>;
}

type Role = "audio" | "camera" | "screen";

export class Session implements CallMedia {
  readonly local = new MediaStream();
  readonly remote = new MediaStream();
  readonly localScreen = new MediaStream();
  readonly remoteScreen = new MediaStream();
  quality: Quality | undefined;
  /** Real-time text, once the peer has said that it knows it (RTT-1). */
  text: TextPath | undefined;

  readonly #pc: RTCPeerConnection;
  readonly #text: TextPath;
  /** Our offer of a path for text, while it is on its way. */
  #textOffer = "";
  readonly #meter = new QualityMeter();
  readonly #roles = new Map<RTCRtpTransceiver, Role>();
  /** What the peer's sections are for, by `a=mid`. */
  readonly #purposes = new Map<string, string>();
  #listener: SessionListener | undefined;
  #early: ((listener: SessionListener) => void)[] = [];
  /** Orders and changes, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #selection: RTCSessionDescriptionInit | undefined;
  #update: { done(): void; refused(): void } | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #connectivity: ReturnType<typeof setTimeout> | undefined;
  #began = 0;
  #flowed = false;
  #closed = false;

  constructor(servers: readonly RTCIceServer[], policy: RTCIceTransportPolicy) {
    // One transport for all (WEB-44). `max-bundle` would give later sections port 0, which means "turned down" (WEB-14).
    this.#pc = new RTCPeerConnection({
      iceServers: [...servers],
      iceTransportPolicy: policy,
      bundlePolicy: "balanced",
      rtcpMuxPolicy: "require",
    });
    this.#text = new TextPath(servers, policy, () => this.#openText());
    this.#pc.onicecandidate = ({ candidate }) => {
      if (candidate === null || candidate.candidate === "") return;
      // WEB-53: some stacks hand out no mid.
      const mid = candidate.sdpMid ?? this.#pc.getTransceivers()[candidate.sdpMLineIndex ?? 0]?.mid ?? "0";
      this.#report((listener) => listener.candidate(candidate.candidate, mid));
    };
    this.#pc.onicegatheringstatechange = () => {
      if (this.#pc.iceGatheringState === "complete") this.#report((listener) => listener.gathered());
    };
    this.#pc.onconnectionstatechange = () => this.#connection();
  }

  /** Whom to tell; what happened before is told now. */
  listen(listener: SessionListener): void {
    this.#listener = listener;
    for (const told of this.#early.splice(0)) told(listener);
  }

  // -------------------------------------------------------------------------------------------------------- the first offer --

  /** Our offer, installed locally. */
  async offer(stream: MediaStream): Promise<OwnOffer> {
    const [audio] = stream.getAudioTracks();
    const [video] = stream.getVideoTracks();
    this.#add("audio", audio, audio === undefined ? "recvonly" : "sendrecv");
    if (video !== undefined) this.#add("camera", video, "sendrecv");
    return this.#install();
  }

  /** Our selection from a caller's offer; it is installed once it may be (WEB-90). */
  async answer(offer: Offered, stream: MediaStream, screening: boolean): Promise<string> {
    await this.#take(offer);
    this.#learnText(offer.text);
    const [audio] = stream.getAudioTracks();
    const [video] = stream.getVideoTracks();
    for (const [transceiver, role] of this.#roles) {
      const track = role === "audio" ? audio : role === "camera" ? video : undefined;
      const sends = track !== undefined && !screening;
      if (sends) await transceiver.sender.replaceTrack(track);
      // What is not accepted in a screened call is turned down until it is taken over.
      transceiver.direction = screening && role !== "audio" ? "inactive" : sends ? "sendrecv" : "recvonly";
    }
    this.#keep(stream);
    return this.#select();
  }

  // --------------------------------------------------------------------------------------------------------------- orders --

  /** Carries out what the agent says, after whatever it said before. */
  order(order: MediaOrder): void {
    void this.#next(() => this.#obey(order)).catch(() => {
      if (!this.#closed) this.#listener?.failed();
    });
  }

  async #obey(order: MediaOrder): Promise<void> {
    if (this.#closed) return;
    switch (order.act) {
      case "start":
        this.#began = performance.now();
        if (order.remote === null) await this.#adopt();
        else await this.#pc.setRemoteDescription({ type: "answer", sdp: order.remote });
        this.#sync();
        this.#timer = setInterval(() => void this.#measure(), 1000);
        this.#connectivity = setTimeout(() => this.#giveUp(), CONNECTIVITY);
        return;
      case "candidates":
        for (const candidate of order.candidates) {
          // All sections share the first one's transport.
          await this.#pc.addIceCandidate({ candidate, sdpMLineIndex: this.#firstLive() }).catch(() => {
            // One that this browser cannot use, such as of a kind it does not know, is no reason to end a call.
          });
        }
        return;
      case "end-of-candidates":
        return;
      case "text":
        this.#learnText(order.sdp);
        if (this.#text.isOffering) await this.#text.settle(order.sdp).catch(() => this.#text.drop());
        return;
      case "apply":
        // RTT-2: an answer that says nothing of it opens no path.
        if (this.#text.isOffering) this.#text.drop();
        await this.#pc.setRemoteDescription({ type: "answer", sdp: order.sdp });
        this.#sync();
        this.#update?.done();
        return;
      case "roll-back":
        await this.#pc.setLocalDescription({ type: "rollback" });
        if (this.#text.isOffering) this.#text.drop();
        this.#update?.refused();
        return;
      case "update-offered":
        return this.#consider(order.offer);
      case "adopt":
        await this.#adopt();
        this.#sync();
        return;
      case "stop":
        return this.close();
    }
  }

  /** The peer describes the call anew. What we send stays as it is, and what they send is taken (WEB-86). */
  async #consider(offer: Offered): Promise<void> {
    try {
      await this.#take(offer);
      for (const transceiver of this.#pc.getTransceivers()) {
        const sending = transceiver.sender.track !== null && !this.#held;
        const role = this.#roles.get(transceiver);
        if (transceiver.direction === "stopped" || role === undefined) continue;
        transceiver.direction = this.#held ? "inactive" : sending ? "sendrecv" : "recvonly";
      }
      this.#learnText(offer.text);
      const text = offer.text === null || offer.text === "" ? offer.text : await this.#text.answer(offer.text).catch(() => "");
      await this.#listener?.acceptUpdate(await this.#select(), text);
    } catch {
      this.#selection = undefined;
      if (this.#pc.signalingState === "have-remote-offer") await this.#pc.setRemoteDescription({ type: "rollback" });
      await this.#listener?.rejectUpdate().catch(() => {});
    }
  }

  // -------------------------------------------------------------------------------------------------------------- changes --

  /** Sends `track` as our camera, screen or microphone, or nothing; asks the peer where that changes what was agreed. */
  async send(role: Role, track: MediaStreamTrack | undefined, by: string | null = null): Promise<void> {
    return this.#next(() => this.#send(role, track, by));
  }

  async #send(role: Role, track: MediaStreamTrack | undefined, by: string | null): Promise<void> {
    let transceiver = this.#of(role);
    const before = transceiver?.direction;
    if (transceiver === undefined) {
      if (track === undefined) return;
      transceiver = this.#add(role, track, role === "screen" ? "sendonly" : "sendrecv");
    } else {
      const old = transceiver.sender.track;
      await transceiver.sender.replaceTrack(track ?? null);
      this.#swap(role, old, track);
      const receives = role !== "screen" || transceiver.direction === "sendrecv" || transceiver.direction === "recvonly";
      transceiver.direction = this.#held ? "inactive" : directionOf(track !== undefined, receives);
    }
    if (before === transceiver.direction && by === null) return this.#changed();
    await this.#negotiate(by);
  }

  #heldBefore: Map<RTCRtpTransceiver, RTCRtpTransceiverDirection> | undefined;

  get #held(): boolean {
    return this.#heldBefore !== undefined;
  }

  async hold(held: boolean): Promise<void> {
    return this.#next(async () => {
      if (held === this.#held) return;
      const before = this.#heldBefore;
      if (held) {
        this.#heldBefore = new Map(this.#live().map((transceiver) => [transceiver, transceiver.direction]));
        this.#live().forEach((transceiver) => (transceiver.direction = "inactive"));
      } else {
        for (const transceiver of this.#live()) {
          const was = before?.get(transceiver);
          transceiver.direction = was === undefined || was === "stopped" ? "recvonly" : was;
        }
        this.#heldBefore = undefined;
      }
      try {
        await this.#negotiate(null);
      } catch (thrown) {
        this.#heldBefore = before;
        throw thrown;
      }
    });
  }

  /** Media both ways after screening (SCR-3). */
  async takeOver(stream: MediaStream): Promise<void> {
    return this.#next(async () => {
      const [audio] = stream.getAudioTracks();
      const [video] = stream.getVideoTracks();
      const microphone = this.#of("audio");
      if (microphone !== undefined && audio !== undefined) {
        await microphone.sender.replaceTrack(audio);
        microphone.direction = "sendrecv";
      }
      const camera = this.#of("camera");
      if (camera !== undefined) {
        if (video !== undefined) await camera.sender.replaceTrack(video);
        camera.direction = video === undefined ? "recvonly" : "sendrecv";
      } else if (video !== undefined) {
        this.#add("camera", video, "sendrecv");
      }
      this.#keep(stream);
      await this.#negotiate("user");
    });
  }

  setMuted(muted: boolean): void {
    this.local.getAudioTracks().forEach((track) => (track.enabled = !muted));
  }

  async #negotiate(by: string | null): Promise<void> {
    const before = new Map(this.#live().map((transceiver) => [transceiver, transceiver.currentDirection]));
    const offer = await this.#install();
    const settled = new Promise<boolean>((resolve) => {
      this.#update = { done: () => resolve(true), refused: () => resolve(false) };
    });
    try {
      await this.#listener?.update(offer, by);
    } catch (thrown) {
      await this.#pc.setLocalDescription({ type: "rollback" });
      this.#restore(before);
      throw thrown;
    }
    // The answer comes as an order, which waits in the same queue: this must not wait for it.
    void settled.then((applied) => {
      this.#update = undefined;
      if (!applied) this.#restore(before);
      this.#changed();
    });
  }

  #openText(): Promise<void> {
    return this.#next(async () => {
      this.#textOffer = await this.#text.offer();
      try {
        await this.#negotiate(null);
      } catch (thrown) {
        this.#text.drop();
        throw thrown;
      } finally {
        this.#textOffer = "";
      }
    });
  }

  #learnText(said: string | null): void {
    this.text = said === null ? undefined : this.#text;
  }

  #restore(before: ReadonlyMap<RTCRtpTransceiver, RTCRtpTransceiverDirection | null>): void {
    for (const transceiver of this.#live()) {
      const was = before.get(transceiver);
      if (was !== undefined && was !== null && was !== "stopped") transceiver.direction = was;
    }
  }

  // -------------------------------------------------------------------------------------------------------------- looking --

  get audio(): Direction {
    return this.#agreed("audio");
  }

  get video(): Direction {
    return this.#agreed("camera");
  }

  get screen(): Direction {
    return this.#agreed("screen");
  }

  get security(): CallSecurity {
    const fingerprint = (sdp: string | undefined): string | undefined => /^a=fingerprint:(.*)$/m.exec(sdp ?? "")?.[1]?.trim();
    return {
      remoteFingerprint: fingerprint(this.#pc.remoteDescription?.sdp),
      localFingerprint: fingerprint(this.#pc.localDescription?.sdp),
      dtls: this.#meter.dtls,
      srtp: this.#meter.srtp,
    };
  }

  /**
   * New credentials (TURN-6), for a path that is not there yet. A connection that has other servers set restarts ICE with its next
   * offer, which WEB-88 forbids; it has its candidates already.
   */
  useServers(servers: readonly RTCIceServer[]): void {
    this.#text.useServers(servers);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#connectivity);
    this.#update?.refused();
    this.#text.close();
    this.#pc.close();
    for (const stream of [this.local, this.localScreen]) stream.getTracks().forEach((track) => track.stop());
    for (const stream of [this.local, this.localScreen, this.remote, this.remoteScreen]) {
      stream.getTracks().forEach((track) => stream.removeTrack(track));
    }
  }

  // --------------------------------------------------------------------------------------------------------------- inside --

  #next<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(act, act);
    this.#queue = done.catch(() => {});
    return done;
  }

  #add(role: Role, track: MediaStreamTrack | undefined, direction: RTCRtpTransceiverDirection): RTCRtpTransceiver {
    const stream = role === "screen" ? this.localScreen : this.local;
    const kind = role === "audio" ? "audio" : "video";
    const transceiver = this.#pc.addTransceiver(track ?? kind, { direction, streams: [stream] });
    if (track !== undefined) stream.addTrack(track);
    this.#roles.set(transceiver, role);
    prefer(transceiver, kind);
    return transceiver;
  }

  async #install(): Promise<OwnOffer> {
    await this.#pc.setLocalDescription(await this.#pc.createOffer());
    const purposes: Record<string, string> = {};
    for (const [transceiver, role] of this.#roles) {
      if (role === "screen" && transceiver.mid !== null) purposes[transceiver.mid] = SCREEN;
    }
    return { sdp: this.#pc.localDescription?.sdp ?? "", purposes, text: this.#textOffer };
  }

  async #take(offer: Offered): Promise<void> {
    for (const { mid, purpose } of offer.media) {
      if (mid !== null && purpose !== null) this.#purposes.set(mid, purpose);
    }
    await this.#pc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    for (const transceiver of this.#pc.getTransceivers()) {
      if (this.#roles.has(transceiver)) continue;
      const kind = transceiver.receiver.track.kind;
      const isScreen = this.#purposes.get(transceiver.mid ?? "") === SCREEN;
      this.#roles.set(transceiver, kind === "audio" ? "audio" : isScreen ? "screen" : "camera");
    }
  }

  async #select(): Promise<string> {
    const answer = await this.#pc.createAnswer();
    this.#selection = { type: "answer", sdp: answer.sdp ?? "" };
    return answer.sdp ?? "";
  }

  async #adopt(): Promise<void> {
    const selection = this.#selection;
    this.#selection = undefined;
    if (selection === undefined) throw new DsipError("media-failed", "there is no answer to install");
    await this.#pc.setLocalDescription(selection);
  }

  #live(): RTCRtpTransceiver[] {
    return this.#pc.getTransceivers().filter(({ direction, currentDirection }) => direction !== "stopped" && currentDirection !== "stopped");
  }

  #firstLive(): number {
    const sections = (this.#pc.remoteDescription?.sdp ?? "").match(/^m=\S+ \d+/gm) ?? [];
    return Math.max(0, sections.findIndex((section) => !section.endsWith(" 0")));
  }

  #of(role: Role): RTCRtpTransceiver | undefined {
    return this.#live().find((transceiver) => this.#roles.get(transceiver) === role && !(role === "screen" && transceiver.currentDirection === "recvonly"));
  }

  #agreed(role: Role): Direction {
    const directions = this.#live().filter((one) => this.#roles.get(one) === role).map((one) => one.currentDirection);
    const sends = directions.some((one) => one === "sendrecv" || one === "sendonly");
    const receives = directions.some((one) => one === "sendrecv" || one === "recvonly");
    return directionOf(sends, receives);
  }

  #keep(stream: MediaStream): void {
    const sent = new Set(this.#live().map(({ sender }) => sender.track));
    for (const track of stream.getTracks()) {
      if (sent.has(track)) this.local.addTrack(track);
      else track.stop();
    }
  }

  #swap(role: Role, old: MediaStreamTrack | null, track: MediaStreamTrack | undefined): void {
    const stream = role === "screen" ? this.localScreen : this.local;
    if (old !== null && old !== track) {
      old.stop();
      stream.removeTrack(old);
    }
    if (track !== undefined) stream.addTrack(track);
  }

  /** What comes in is in the streams, and nothing else. */
  #sync(): void {
    for (const transceiver of this.#pc.getTransceivers()) {
      const into = this.#roles.get(transceiver) === "screen" ? this.remoteScreen : this.remote;
      const { track } = transceiver.receiver;
      const comes = transceiver.currentDirection === "sendrecv" || transceiver.currentDirection === "recvonly";
      if (comes && !into.getTracks().includes(track)) into.addTrack(track);
      else if (!comes && into.getTracks().includes(track)) into.removeTrack(track);
    }
    this.#changed();
  }

  #connection(): void {
    switch (this.#pc.connectionState) {
      case "connected":
        this.#flowed = true;
        clearTimeout(this.#connectivity);
        return this.#report((listener) => listener.flowing(true));
      case "disconnected":
        return this.#report((listener) => listener.flowing(false));
      case "failed":
        // Before the first packet, late candidates may still help; after it, only a restart would (WEB-89).
        if (this.#flowed || performance.now() - this.#began >= CONNECTIVITY) this.#giveUp();
        return;
      default:
        return;
    }
  }

  #giveUp(): void {
    if (!this.#closed && this.#pc.connectionState !== "connected") this.#report((listener) => listener.failed());
  }

  async #measure(): Promise<void> {
    if (this.#closed) return;
    const report = await this.#pc.getStats();
    const listening = this.audio === "sendrecv" || this.audio === "recvonly";
    this.quality = this.#meter.next(report, listening && this.#pc.connectionState === "connected") ?? this.quality;
    this.#changed();
  }

  #changed(): void {
    if (!this.#closed) this.#listener?.changed();
  }

  #report(told: (listener: SessionListener) => void): void {
    if (this.#closed) return;
    if (this.#listener === undefined) this.#early.push(told);
    else told(this.#listener);
  }
}

function directionOf(sends: boolean, receives: boolean): Direction {
  if (sends) return receives ? "sendrecv" : "sendonly";
  return receives ? "recvonly" : "inactive";
}

/** Offers what has a DSIP id and what goes with it: shorter, and what an offer names it can do (WEB-13). */
function prefer(transceiver: RTCRtpTransceiver, kind: "audio" | "video"): void {
  const known = RTCRtpReceiver.getCapabilities(kind)?.codecs.filter(({ mimeType }) => CODECS.test(mimeType)) ?? [];
  const ours = known.filter(({ mimeType }) => !/\/(red|ulpfec)$/i.test(mimeType));
  if (ours.length > 0) transceiver.setCodecPreferences(ours);
}
