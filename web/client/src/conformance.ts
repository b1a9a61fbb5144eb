/** The conformance vectors, run by the WebAssembly module that makes calls. */

import * as wasm from "./wasm.js";
import type { RunVector, VectorOutcome } from "./types.js";

export type { RunVector, VectorOutcome } from "./types.js";
export { load } from "./wasm.js";

/** Runs one vector, a JSON text. Loads the module if nobody did; outside a browser, {@link load} it with its bytes first. */
export const runVector: RunVector = async (vector): Promise<VectorOutcome> => {
  await wasm.load();
  const { failure } = wasm.runVector(vector);
  return { passed: failure === null, detail: failure ?? undefined };
};
