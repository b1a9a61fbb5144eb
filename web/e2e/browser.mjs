// A headless Chromium, and what is asked of every page in it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--autoplay-policy=no-user-gesture-required'];

/** A microphone that beeps, and a camera. Without this there is neither. */
export const DEVICES = '--use-fake-device-for-media-stream';

/** Whoever is asked for a microphone, camera or screen says yes; without this nobody answers, which is a no. */
export const YES = '--use-fake-ui-for-media-stream';

export function launch(more = [DEVICES, YES]) {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: [...ARGS, ...more] });
}

/** Collects what must never happen in a page: errors, and refusals of the policy. */
export function watch(page) {
  const seen = [];
  page.on('pageerror', (error) => seen.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') seen.push(`console: ${message.text()}`);
  });
  return seen;
}

export const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** axe finds nothing (WCAG 2.2 AA). */
export async function accessible(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }), RULES);
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join(' | ')}`);
  assert.deepEqual(told, [], `${name}: axe`);
}
