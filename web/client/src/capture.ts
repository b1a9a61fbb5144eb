/** Microphones, cameras and screens: opening them, choosing among them, and saying in words why it did not work. */

import { DsipError } from "./errors.js";
import type { Store } from "./store.js";
import type { MediaChoice, MediaDevices, Unsubscribe } from "./types.js";

/** The devices the owner chose, kept with the home. */
export class Devices implements MediaDevices {
  readonly #store: Store;
  #preferred: Partial<Record<MediaDeviceKind, string>>;

  private constructor(store: Store, preferred: Partial<Record<MediaDeviceKind, string>>) {
    this.#store = store;
    this.#preferred = preferred;
  }

  static async of(store: Store): Promise<Devices> {
    return new Devices(store, (await store.get("preferred")) ?? {});
  }

  async list(kind: MediaDeviceKind): Promise<readonly MediaDeviceInfo[]> {
    return (await mediaDevices().enumerateDevices()).filter((device) => device.kind === kind);
  }

  onChange(listener: () => void): Unsubscribe {
    const devices = mediaDevices();
    devices.addEventListener("devicechange", listener);
    return () => devices.removeEventListener("devicechange", listener);
  }

  async watchLevel(deviceId: string | undefined, listener: (level: number) => void): Promise<Unsubscribe> {
    const stream = await capture({ audio: deviceId === undefined ? true : { deviceId: { exact: deviceId } } }, this);
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let frame = 0;
    const look = (): void => {
      analyser.getFloatTimeDomainData(samples);
      listener(Math.min(1, Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length)));
      frame = requestAnimationFrame(look);
    };
    look();
    return () => {
      cancelAnimationFrame(frame);
      stream.getTracks().forEach((track) => track.stop());
      void context.close();
    };
  }

  async prefer(kind: MediaDeviceKind, deviceId: string | undefined): Promise<void> {
    const { [kind]: _, ...rest } = this.#preferred;
    this.#preferred = deviceId === undefined ? rest : { ...rest, [kind]: deviceId };
    await this.#store.put({ preferred: this.#preferred });
  }

  preferred(kind: MediaDeviceKind): string | undefined {
    return this.#preferred[kind];
  }
}

/** Opens what is to be sent. */
export async function capture(choice: MediaChoice, devices: Devices): Promise<MediaStream> {
  const audio = constraints(choice.audio ?? true, devices.preferred("audioinput"), {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
  });
  const video = constraints(choice.video ?? false, devices.preferred("videoinput"), {
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 30 },
  });
  if (audio === false && video === false) return new MediaStream();
  const stream = new MediaStream();
  try {
    // One after the other, so that a missing camera is not taken for a missing microphone.
    if (audio !== false) await add(stream, { audio }, "microphone");
    if (video !== false) await add(stream, { video }, "camera");
  } catch (thrown) {
    stream.getTracks().forEach((track) => track.stop());
    throw thrown;
  }
  return stream;
}

/** Lets the person pick a screen, a window or a tab. */
export async function captureScreen(): Promise<MediaStream> {
  try {
    return await mediaDevices().getDisplayMedia({ video: { frameRate: { ideal: 15 } }, audio: false });
  } catch (cause) {
    throw new DsipError("screen-denied", "no screen was chosen", { cause });
  }
}

async function add(to: MediaStream, wanted: MediaStreamConstraints, what: "microphone" | "camera"): Promise<void> {
  try {
    const stream = await mediaDevices().getUserMedia(wanted);
    stream.getTracks().forEach((track) => to.addTrack(track));
  } catch (cause) {
    const name = cause instanceof DOMException ? cause.name : "";
    if (name === "NotAllowedError" || name === "SecurityError") {
      throw new DsipError(`${what}-denied`, `the ${what} may not be used; allow it in the browser's settings`, { cause });
    }
    if (name === "NotFoundError" || name === "OverconstrainedError") {
      throw new DsipError(`${what}-missing`, `there is no such ${what}`, { cause });
    }
    throw new DsipError(`${what}-busy`, `the ${what} does not start; another program may hold it`, { cause });
  }
}

function constraints(
  wanted: boolean | MediaTrackConstraints,
  preferred: string | undefined,
  usual: MediaTrackConstraints,
): MediaTrackConstraints | false {
  if (wanted === false) return false;
  const device = preferred === undefined ? {} : { deviceId: { ideal: preferred } };
  return { ...usual, ...device, ...(wanted === true ? {} : wanted) };
}

function mediaDevices(): globalThis.MediaDevices {
  // A page that is not secure has none.
  const devices = navigator.mediaDevices as globalThis.MediaDevices | undefined;
  if (devices === undefined) throw new DsipError("unsupported-browser", "this browser gives the page no microphone");
  return devices;
}
