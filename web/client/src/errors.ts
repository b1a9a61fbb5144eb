/** The one error of this package. */

import type { DsipErrorShape, ErrorCode } from "./types.js";

/** What could not be done: a code for programs, a sentence for people. */
export class DsipError extends Error implements DsipErrorShape {
  override readonly name = "DsipError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** What was thrown, in words. */
export function wordsOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What was thrown, as an error of this package. */
export function asDsipError(thrown: unknown): DsipError {
  return thrown instanceof DsipError ? thrown : new DsipError("internal", wordsOf(thrown), { cause: thrown });
}
