/** How a call sounds and looks, from what the browser counts. */

import type { Quality } from "./types.js";

/** What an Opus frame waits for before it leaves: its length and the encoder's look-ahead. */
const CODING_MS = 26.5;
/** From here on people call it good, or still fair (ITU-T G.107, annex B). */
const GOOD = 3.8;
const FAIR = 3.1;

/**
 * The estimated mean opinion score by the E-model (ITU-T G.107), reduced to what a packet network changes, as the native phone
 * computes it: `impaired` is the share of sound that was made up, 0 to 1; `delayMs` from mouth to ear.
 */
export function mos(impaired: number, delayMs: number): number {
  const id = 0.024 * delayMs + (delayMs > 177.3 ? 0.11 * (delayMs - 177.3) : 0);
  const percent = Math.min(Math.max(impaired, 0), 1) * 100;
  const r = 93.2 - id - (95 * percent) / (percent + 10);
  if (r <= 0) return 1;
  return Math.min(Math.max(1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r), 1), 4.5);
}

/** The counters at one moment, as far as this browser has them. */
interface Counters {
  at: number;
  received: number;
  lost: number;
  samples: number;
  concealed: number;
  bufferSeconds: number;
  bufferCount: number;
  jitterSeconds: number | undefined;
  roundTripSeconds: number | undefined;
  bytesIn: number;
  bytesOut: number;
  levelIn: number;
  levelOut: number;
  limited: string | undefined;
  video: { width: number; height: number; framesPerSecond: number; framesDecoded: number } | undefined;
  codecs: string[];
  path: "direct" | "relayed" | undefined;
  dtls: string | undefined;
  srtp: string | undefined;
}

/** A member of a report, if it is there and of that type: no two browsers have all of them. */
type Row = RTCStats & Readonly<Record<string, unknown>>;
const number = (row: Row, name: string): number | undefined => {
  const value = row[name];
  return typeof value === "number" ? value : undefined;
};
const text = (row: Row, name: string): string | undefined => {
  const value = row[name];
  return typeof value === "string" ? value : undefined;
};

/** Turns one report after the other into figures. */
export class QualityMeter {
  #last: Counters | undefined;
  dtls: string | undefined;
  srtp: string | undefined;

  /** The figures since the last report. `listening`: whether sound should come in at all. */
  next(report: RTCStatsReport, listening: boolean): Quality | undefined {
    const now = count(report);
    const last = this.#last;
    this.#last = now;
    [this.dtls, this.srtp] = [now.dtls, now.srtp];
    if (last === undefined) return undefined;
    const seconds = (now.at - last.at) / 1000;
    if (seconds <= 0) return undefined;
    const since = (name: "received" | "lost" | "samples" | "concealed" | "bufferSeconds" | "bufferCount" | "bytesIn" | "bytesOut"): number =>
      Math.max(0, now[name] - last[name]);
    const [received, lost] = [since("received"), since("lost")];
    const loss = received + lost === 0 ? 0 : lost / (received + lost);
    const impaired = since("samples") === 0 ? 0 : since("concealed") / since("samples");
    const bufferMs = since("bufferCount") === 0 ? 0 : (since("bufferSeconds") / since("bufferCount")) * 1000;
    const roundTripMs = now.roundTripSeconds === undefined ? undefined : now.roundTripSeconds * 1000;
    const jitterMs = now.jitterSeconds === undefined ? undefined : now.jitterSeconds * 1000;
    const silent = listening && received === 0;
    const score = silent ? 1 : mos(impaired, (roundTripMs ?? 0) / 2 + bufferMs + CODING_MS);
    const level = silent ? "none" : score >= GOOD ? "good" : score >= FAIR ? "fair" : "poor";
    return {
      mos: score,
      level,
      reason: level === "good" ? limitation(now.limited) : blame(silent, loss, impaired, jitterMs, roundTripMs, now.limited),
      roundTripMs,
      jitterMs,
      loss,
      bitsPerSecondIn: (since("bytesIn") * 8) / seconds,
      bitsPerSecondOut: (since("bytesOut") * 8) / seconds,
      levelIn: now.levelIn,
      levelOut: now.levelOut,
      video: now.video,
      codecs: now.codecs,
      path: now.path,
    };
  }
}

function limitation(limited: string | undefined): Quality["reason"] {
  return limited === "bandwidth" || limited === "cpu" ? limited : undefined;
}

function blame(
  silent: boolean,
  loss: number,
  impaired: number,
  jitterMs: number | undefined,
  roundTripMs: number | undefined,
  limited: string | undefined,
): Quality["reason"] {
  if (silent) return "no-packets";
  if (loss > 0.02) return "loss";
  // Sound was made up though nothing was lost: it came too late.
  if (impaired > 0.02 || (jitterMs ?? 0) > 50) return "jitter";
  if ((roundTripMs ?? 0) > 300) return "delay";
  return limitation(limited) ?? "loss";
}

function count(report: RTCStatsReport): Counters {
  const now: Counters = {
    at: performance.now(),
    received: 0,
    lost: 0,
    samples: 0,
    concealed: 0,
    bufferSeconds: 0,
    bufferCount: 0,
    jitterSeconds: undefined,
    roundTripSeconds: undefined,
    bytesIn: 0,
    bytesOut: 0,
    levelIn: 0,
    levelOut: 0,
    limited: undefined,
    video: undefined,
    codecs: [],
    path: undefined,
    dtls: undefined,
    srtp: undefined,
  };
  const codecs = new Set<string>();
  const codecOf = (row: Row): void => {
    const codec = report.get(text(row, "codecId") ?? "") as Row | undefined;
    const mime = codec === undefined ? undefined : text(codec, "mimeType");
    if (mime !== undefined) codecs.add(mime);
  };
  report.forEach((entry: Row) => {
    if (entry.type === "inbound-rtp") {
      now.bytesIn += number(entry, "bytesReceived") ?? 0;
      codecOf(entry);
      if (text(entry, "kind") === "audio") {
        now.received += number(entry, "packetsReceived") ?? 0;
        now.lost += number(entry, "packetsLost") ?? 0;
        now.samples += number(entry, "totalSamplesReceived") ?? 0;
        // What is made up where the other end was silent is heard by nobody.
        now.concealed += (number(entry, "concealedSamples") ?? 0) - (number(entry, "silentConcealedSamples") ?? 0);
        now.bufferSeconds += number(entry, "jitterBufferDelay") ?? 0;
        now.bufferCount += number(entry, "jitterBufferEmittedCount") ?? 0;
        now.jitterSeconds = number(entry, "jitter");
        now.levelIn = Math.max(now.levelIn, number(entry, "audioLevel") ?? 0);
      } else if ((number(entry, "frameWidth") ?? 0) > (now.video?.width ?? 0)) {
        now.video = {
          width: number(entry, "frameWidth") ?? 0,
          height: number(entry, "frameHeight") ?? 0,
          framesPerSecond: number(entry, "framesPerSecond") ?? 0,
          framesDecoded: number(entry, "framesDecoded") ?? 0,
        };
      }
    } else if (entry.type === "outbound-rtp") {
      now.bytesOut += number(entry, "bytesSent") ?? 0;
      codecOf(entry);
      if (text(entry, "kind") === "video") now.limited = text(entry, "qualityLimitationReason");
    } else if (entry.type === "remote-inbound-rtp") {
      now.roundTripSeconds ??= number(entry, "roundTripTime");
    } else if (entry.type === "media-source") {
      now.levelOut = Math.max(now.levelOut, number(entry, "audioLevel") ?? 0);
    } else if (entry.type === "transport") {
      now.dtls = tls(text(entry, "tlsVersion"));
      now.srtp = text(entry, "srtpCipher");
      const pair = report.get(text(entry, "selectedCandidatePairId") ?? "") as Row | undefined;
      if (pair === undefined) return;
      now.roundTripSeconds = number(pair, "currentRoundTripTime") ?? now.roundTripSeconds;
      const ends = ["localCandidateId", "remoteCandidateId"].map((name) => report.get(text(pair, name) ?? "") as Row | undefined);
      now.path = ends.some((end) => end !== undefined && text(end, "candidateType") === "relay") ? "relayed" : "direct";
    }
  });
  now.codecs = [...codecs];
  return now;
}

function tls(version: string | undefined): string | undefined {
  if (version === undefined) return undefined;
  const names: Readonly<Record<string, string>> = { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3", FEFF: "DTLS 1.0" };
  return names[version.toUpperCase()] ?? version;
}
