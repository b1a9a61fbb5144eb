// Pictures of the faces, on a phone and on a desktop, light and dark: `node screenshots.mjs FOLDER [NAME…]`.
// FOLDER is where they go; the bundle is the stage's, built by `npm run stage`.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { launch, SIZES, watch } from './browser.mjs';
import { furnish, open, SCENES } from './scenes.mjs';
import { serve } from './serve.mjs';

const [folder = 'shots', ...only] = process.argv.slice(2);
const sizes = (process.env.SIZES ?? 'phone,desktop').split(',');
const themes = (process.env.THEMES ?? 'light,dark').split(',');
const query = process.env.LANG_QUERY ?? '';
await mkdir(folder, { recursive: true });
const { origin, stop } = await serve(process.env.DIST ?? new URL('dist-stage', import.meta.url).pathname);
const browser = await launch();
for (const size of sizes) {
  for (const theme of themes) {
    for (const scene of SCENES.filter(({ name }) => only.length === 0 || only.includes(name))) {
      const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme, reducedMotion: 'reduce', locale: 'en-GB', serviceWorkers: 'block' });
      await furnish(context);
      const page = await context.newPage();
      page.setDefaultTimeout(8_000);
      const seen = watch(page);
      try {
        await open(page, origin, scene, query);
        await page.waitForTimeout(250);
        await page.screenshot({ path: join(folder, `${scene.name}-${size}-${theme}.png`) });
      } catch (error) {
        console.log(`${scene.name} ${size} ${theme}: ${String(error).split('\n')[0]}`);
      }
      if (seen.length > 0) console.log(`${scene.name} ${size} ${theme}:`, seen);
      await context.close();
    }
  }
}
await browser.close();
await stop();
