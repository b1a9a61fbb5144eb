/** A call, as one tab shows it. Where its media are, it drives them too. */

import type { Bus, CallView, MediaOrder } from "./bus.js";
import { capture, captureScreen, type Devices } from "./capture.js";
import type { CoreCommand, OwnOffer } from "./wasm.js";
import { DsipError } from "./errors.js";
import { Session, type SessionListener } from "./media.js";
import type {
  Call,
  CallMedia,
  CallSecurity,
  Direction,
  MediaChoice,
  PendingUpdate,
  RealTimeText,
  Unsubscribe,
} from "./types.js";

/** What a call needs of its phone. */
export interface Surroundings {
  readonly bus: Bus;
  readonly devices: Devices;
  session(): Promise<Session>;
}

const NO_SECURITY: CallSecurity = {
  remoteFingerprint: undefined,
  localFingerprint: undefined,
  dtls: undefined,
  srtp: undefined,
};

/** The media of a call whose media are elsewhere, or not there yet. */
class NoMedia implements CallMedia {
  readonly local = new MediaStream();
  readonly remote = new MediaStream();
  readonly remoteScreen = new MediaStream();
  readonly localScreen = new MediaStream();
  readonly audio: Direction = "inactive";
  readonly video: Direction = "inactive";
  readonly screen: Direction = "inactive";
  readonly quality = undefined;
}

export class CallHandle implements Call, SessionListener {
  readonly #around: Surroundings;
  readonly #listeners = new Set<(call: Call) => void>();
  #view: CallView;
  #session: Session | undefined;
  #noMedia: NoMedia | undefined;
  #answering = false;
  #muted = false;
  #held = false;
  #wantsVideo = false;
  readonly text: RealTimeText | undefined = undefined;

  constructor(around: Surroundings, view: CallView) {
    this.#around = around;
    this.#view = view;
  }

  // ---------------------------------------------------------------------------------------------------------- what is known --

  get id(): string {
    return this.#view.id;
  }
  get direction(): Call["direction"] {
    return this.#view.direction;
  }
  get state(): Call["state"] {
    return this.#view.state;
  }
  get party(): Call["party"] {
    return this.#view.party;
  }
  get identity(): string {
    return this.#view.identity;
  }
  get claimedName(): string | undefined {
    return this.#view.party?.claimedName ?? this.#view.claimedName;
  }
  get answeredBy(): Call["answeredBy"] {
    return this.#view.answeredBy;
  }
  get screening(): Call["screening"] {
    return this.#view.screening;
  }
  get startedAt(): number {
    return this.#view.startedAt;
  }
  get answeredAt(): number | undefined {
    return this.#view.answeredAt;
  }
  get endedAt(): number | undefined {
    return this.#view.endedAt;
  }
  get reason(): string | undefined {
    return this.#view.reason;
  }
  get missed(): boolean {
    return this.#view.missed;
  }
  get offersVideo(): boolean {
    return this.#view.offersVideo;
  }
  get isHere(): boolean {
    return this.#view.owner === this.#around.bus.tab;
  }
  get media(): CallMedia {
    return this.#session ?? (this.#noMedia ??= new NoMedia());
  }
  get security(): CallSecurity {
    return this.#session?.security ?? NO_SECURITY;
  }
  get muted(): boolean {
    return this.#muted;
  }
  get held(): boolean {
    return this.#held;
  }
  get heldByPeer(): boolean {
    return !this.#held && ["talking", "interrupted"].includes(this.state) && this.isHere && this.media.audio === "inactive";
  }
  get pendingUpdate(): PendingUpdate | undefined {
    if (!this.#wantsVideo || this.media.video === "sendrecv" || this.media.video === "sendonly") return undefined;
    const settle = (): void => {
      this.#wantsVideo = false;
      this.changed();
    };
    return {
      wantsVideo: true,
      accept: async (media) => {
        await this.setCamera(typeof media?.video === "object" ? media.video : true);
        settle();
      },
      reject: async () => settle(),
    };
  }

  onChange(listener: (call: Call) => void): Unsubscribe {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // ------------------------------------------------------------------------------------------------------ what a person does --

  async accept(media?: MediaChoice): Promise<void> {
    await this.#answer(media, false);
  }

  async screen(): Promise<void> {
    await this.#answer({ audio: false }, true);
  }

  async takeOver(media?: MediaChoice): Promise<void> {
    const session = this.#here();
    const stream = await capture(media ?? {}, this.#around.devices);
    await session.takeOver(stream);
    session.setMuted(this.#muted);
  }

  async decline(): Promise<void> {
    await this.#command({ do: "decline", call: this.id });
  }

  async hangUp(): Promise<void> {
    await this.#command({ do: "end", call: this.id });
  }

  async hold(held: boolean): Promise<void> {
    await this.#here().hold(held);
    this.#held = held;
    this.changed();
  }

  async setCamera(on: boolean | MediaTrackConstraints): Promise<void> {
    const session = this.#here();
    if (on === false) return session.send("camera", undefined);
    const [track] = (await capture({ audio: false, video: on }, this.#around.devices)).getVideoTracks();
    await this.#sendOrStop(session, "camera", track);
  }

  async shareScreen(on: boolean): Promise<void> {
    const session = this.#here();
    if (!on) return session.send("screen", undefined);
    const [track] = (await captureScreen()).getVideoTracks();
    // The browser has its own button to end it.
    track?.addEventListener("ended", () => void session.send("screen", undefined).catch(() => {}));
    await this.#sendOrStop(session, "screen", track);
  }

  setMuted(muted: boolean): void {
    this.#muted = muted;
    this.#session?.setMuted(muted);
    this.changed();
  }

  async useDevice(kind: "audioinput" | "videoinput", deviceId: string): Promise<void> {
    const session = this.#here();
    const device = { deviceId: { exact: deviceId } };
    const choice = kind === "audioinput" ? { audio: device } : { audio: false, video: device };
    const [track] = (await capture(choice, this.#around.devices)).getTracks();
    await this.#sendOrStop(session, kind === "audioinput" ? "audio" : "camera", track);
    session.setMuted(this.#muted);
  }

  // ------------------------------------------------------------------------------------------------ what its session reports --

  candidate(candidate: string, mid: string): void {
    this.#quietly({ do: "candidate", call: this.id, candidate, mid });
  }

  gathered(): void {
    this.#quietly({ do: "gathered", call: this.id });
  }

  flowing(flowing: boolean): void {
    this.#around.bus.ask("flowing", { call: this.id, flowing }).catch(() => {});
  }

  failed(): void {
    this.#quietly({ do: "hang-up", call: this.id, reason: "media.failed" });
  }

  changed(): void {
    for (const listener of this.#listeners) listener(this);
  }

  async update(offer: OwnOffer, by: string | null): Promise<void> {
    await this.#command({ do: "update", call: this.id, offer, by });
  }

  async acceptUpdate(sdp: string): Promise<void> {
    await this.#command({ do: "accept-update", call: this.id, sdp });
  }

  async rejectUpdate(): Promise<void> {
    await this.#command({ do: "reject-update", call: this.id, reason: "media.unsupported" });
  }

  // ------------------------------------------------------------------------------------------------------- what its phone tells --

  get last(): CallView {
    return this.#view;
  }

  /** The call is this now. */
  show(view: CallView): void {
    this.#view = view;
    if (view.endedAt !== undefined) this.#session?.close();
    this.changed();
  }

  /** The media of this call are these. */
  attach(session: Session): void {
    this.#session = session;
    session.listen(this);
  }

  order(order: MediaOrder): void {
    if (order.act === "update-offered") {
      const video = order.offer.media.some(({ type, purpose, direction }) => {
        return type === "video" && purpose === null && (direction === "sendrecv" || direction === "recvonly");
      });
      this.#wantsVideo = video;
    }
    this.#session?.order(order);
  }

  useServers(servers: readonly RTCIceServer[]): void {
    this.#session?.useServers(servers);
  }

  // --------------------------------------------------------------------------------------------------------------- inside --

  async #answer(media: MediaChoice | undefined, screen: boolean): Promise<void> {
    const { offer } = this.#view;
    if (offer === undefined || this.#answering) throw new DsipError("no-such-call", "this call is not ringing any more");
    this.#answering = true;
    let session: Session | undefined;
    try {
      const stream = await capture(media ?? {}, this.#around.devices);
      session = await this.#around.session();
      const sdp = await session.answer(offer, stream, screen);
      session.setMuted(this.#muted);
      // Attached before it is said: what the agent orders then has to find it.
      this.attach(session);
      await this.#around.bus.ask("answer", { call: this.id, sdp, screen, video: stream.getVideoTracks().length > 0 });
    } catch (thrown) {
      session?.close();
      if (this.#session === session) this.#session = undefined;
      throw thrown;
    } finally {
      this.#answering = false;
    }
  }

  async #sendOrStop(session: Session, role: "audio" | "camera" | "screen", track: MediaStreamTrack | undefined): Promise<void> {
    try {
      await session.send(role, track);
    } catch (thrown) {
      track?.stop();
      throw thrown;
    }
  }

  #here(): Session {
    if (this.#session === undefined || this.endedAt !== undefined) {
      throw new DsipError("no-such-call", "the media of this call are not in this tab");
    }
    return this.#session;
  }

  async #command(command: CoreCommand): Promise<void> {
    await this.#around.bus.ask("command", { command });
  }

  /** For what is reported rather than asked: a call that is over does not want it any more. */
  #quietly(command: CoreCommand): void {
    this.#around.bus.ask("command", { command }).catch(() => {});
  }
}
