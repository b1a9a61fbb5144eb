// The module that makes calls runs every vector, in Node and in a browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { load, runVector } from "../dist/conformance.js";
import { vectorDirs, vectorsBelow } from "../scripts/vectors.js";
import { Page } from "./town.js";

const vectors = vectorDirs().flatMap((dir) => vectorsBelow(dir));
let page;
before(async () => {
  await load(readFileSync(new URL("../wasm/dsip_web_bg.wasm", import.meta.url)));
  page = await Page.open();
}, { timeout: 60_000 });
after(() => page?.end());

test("VEC-3: all vectors in Node", { timeout: 300_000 }, async () => {
  assert.ok(vectors.length > 100, `${vectors.length} vectors`);
  for (const { name, text } of vectors) {
    const { passed, detail } = await runVector(text);
    assert.ok(passed, `${name}: ${detail}`);
  }
});

test("VEC-3: all vectors in a browser", { timeout: 300_000 }, async () => {
  const failures = await page.page.evaluate(async (vectors) => {
    const { runVector } = await import("/dist/conformance.js");
    const failures = [];
    for (const { name, text } of vectors) {
      const { passed, detail } = await runVector(text);
      if (!passed) failures.push(`${name}: ${detail}`);
    }
    return failures;
  }, vectors);
  assert.deepEqual(failures, []);
});

test("a vector that expects something else fails", async () => {
  const [{ text }] = vectors;
  const wrong = { ...JSON.parse(text), expect: { nothing: "of the kind" } };
  assert.equal((await runVector(JSON.stringify(wrong))).passed, false);
});
