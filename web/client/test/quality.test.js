// The figures people are shown, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { QualityMeter, mos } from "../dist/quality.js";

test("the score falls with loss and with delay, as the native phone's does", () => {
  assert.ok(Math.abs(mos(0, 50) - 4.39) < 0.03, `${mos(0, 50)}`);
  const scores = [mos(0, 50), mos(0.01, 50), mos(0.05, 50), mos(0.2, 50), mos(1, 50)];
  assert.deepEqual([...scores].sort((one, other) => other - one), scores);
  assert.ok(mos(0, 600) < mos(0, 150));
  assert.equal(mos(1, 5000), 1);
});

/** A report of a browser, as far as it is read. */
const report = (...rows) => new Map(rows.map((row, index) => [row.id ?? `${index}`, row]));
const inbound = (over) => ({ type: "inbound-rtp", kind: "audio", packetsReceived: 0, packetsLost: 0, totalSamplesReceived: 0, concealedSamples: 0, ...over });

async function second(meter, ...rows) {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return meter.next(report(...rows), true);
}

test("what is to blame is named", async () => {
  const cases = [
    ["no-packets", "none", inbound({})],
    ["loss", "poor", inbound({ packetsReceived: 40, packetsLost: 10, totalSamplesReceived: 48_000, concealedSamples: 9_600 })],
    ["jitter", "fair", inbound({ packetsReceived: 50, totalSamplesReceived: 48_000, concealedSamples: 1_500, jitter: 0.08 })],
    [undefined, "good", inbound({ packetsReceived: 50, totalSamplesReceived: 48_000 })],
  ];
  for (const [reason, level, row] of cases) {
    const meter = new QualityMeter();
    assert.equal(meter.next(report(inbound({})), true), undefined, "the first report is only a beginning");
    const quality = await second(meter, row);
    assert.deepEqual([quality.reason, quality.level], [reason, level], JSON.stringify(quality));
  }
});

test("a path through a TURN server is said", async () => {
  const meter = new QualityMeter();
  const rows = [
    inbound({ packetsReceived: 1 }),
    { id: "t", type: "transport", selectedCandidatePairId: "p", tlsVersion: "FEFC", srtpCipher: "AEAD_AES_128_GCM" },
    { id: "p", type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: 0.04 },
    { id: "l", type: "local-candidate", candidateType: "relay" },
    { id: "r", type: "remote-candidate", candidateType: "host" },
  ];
  meter.next(report(...rows), true);
  const quality = await second(meter, ...rows);
  assert.equal(quality.path, "relayed");
  assert.equal(quality.roundTripMs, 40);
  assert.deepEqual([meter.dtls, meter.srtp], ["DTLS 1.3", "AEAD_AES_128_GCM"]);
});
