// A headless Chromium with a fake microphone and camera.
import { chromium } from 'playwright-core';

export const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--use-fake-device-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
];

/** Whoever is asked for a microphone, camera or screen says yes; without this nobody answers, which is a no. */
export const YES = '--use-fake-ui-for-media-stream';

export function launch(more = [YES]) {
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
