// Pictures of the faces, of the bundle that `npm run stage` builds:
//   node screenshots.mjs                    the ones that the documentation shows, into docs/screenshots
//   node screenshots.mjs FOLDER [NAME…]     all or some, on a phone and on a desktop, light and dark, to be looked at
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launch, SIZES, watch } from './browser.mjs';
import { furnish, open, SCENES } from './scenes.mjs';
import { serve } from './serve.mjs';

const DOCS = fileURLToPath(new URL('../../docs/screenshots', import.meta.url));
const SHOWN = [
  ['welcome', 'phone', 'light'],
  ['home', 'phone', 'light'],
  ['to', 'phone', 'light'],
  ['requests', 'phone', 'light'],
  ['incoming-unknown', 'phone', 'dark'],
  ['call', 'phone', 'dark'],
  ['call-more', 'phone', 'dark'],
  ['call-details', 'phone', 'dark'],
  ['home', 'desktop', 'dark'],
  ['call-screen', 'desktop', 'dark'],
];

const [folder = DOCS, ...only] = process.argv.slice(2);
const every = SCENES.filter(({ name }) => only.length === 0 || only.includes(name)).flatMap(({ name }) =>
  Object.keys(SIZES).flatMap((size) => ['light', 'dark'].map((theme) => [name, size, theme])),
);

await mkdir(folder, { recursive: true });
const { origin, stop } = await serve(fileURLToPath(new URL('dist-stage', import.meta.url)));
const browser = await launch();
try {
  for (const [name, size, theme] of folder === DOCS ? SHOWN : every) {
    const context = await browser.newContext({
      viewport: SIZES[size],
      colorScheme: theme,
      reducedMotion: 'reduce',
      locale: process.env.LOCALE ?? 'en-GB',
      timezoneId: 'Europe/Berlin',
      serviceWorkers: 'block',
    });
    await furnish(context);
    const page = await context.newPage();
    page.setDefaultTimeout(8_000);
    const seen = watch(page);
    // The same picture on any day.
    await page.clock.setFixedTime('2026-06-03T12:20:00+02:00');
    await open(page, origin, SCENES.find((scene) => scene.name === name));
    await page.waitForFunction(() =>
      [...document.querySelectorAll('video')].every((video) => !video.srcObject?.getVideoTracks().length || video.readyState >= video.HAVE_CURRENT_DATA),
    );
    await page.screenshot({ path: join(folder, `${name}-${size}-${theme}.png`) });
    if (seen.length > 0) console.error(`${name} ${size} ${theme}:`, seen);
    await context.close();
  }
} finally {
  await browser.close();
  await stop();
}
