// Runs conformance vectors through the WebAssembly module: `npm run vectors [-- DIR…]`. Without a directory, those of the project,
// and those of the contract where they lie beside it. In Node here; test/vectors.test.js does the same in a browser.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { load, runVector } from "../dist/conformance.js";

const root = (path) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));

/** Every vector below `dir`: its name and its text. */
export function vectorsBelow(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".json") && entry.name !== "fixtures.json")
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
    .map((path) => ({ name: relative(dir, path).replace(/\.json$/, ""), text: readFileSync(path, "utf8") }));
}

/** Where vectors lie. */
export function vectorDirs() {
  return [root("vectors"), root("../shared/conformance/vectors"), process.env.DSIP_VECTORS ?? ""].filter((dir) => dir !== "" && existsSync(dir));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await load(readFileSync(new URL("../wasm/dsip_web_bg.wasm", import.meta.url)));
  let [passed, failed] = [0, 0];
  for (const dir of process.argv.length > 2 ? process.argv.slice(2) : vectorDirs()) {
    for (const { name, text } of vectorsBelow(dir)) {
      const outcome = await runVector(text).catch((error) => ({ passed: false, detail: String(error) }));
      if (outcome.passed) passed += 1;
      else {
        failed += 1;
        console.log(`FAIL ${name}\n     ${outcome.detail}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}
