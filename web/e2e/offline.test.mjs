// What is there without a network: the page that was visited once, as something to install, and a new version of it.
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';
import { furnish, open } from './scenes.mjs';
import { serve } from './serve.mjs';
import { reachable, sees, Village } from './village.mjs';

const PATIENCE = { timeout: 120_000 };

/** The worker has the whole page, and this tab is its. */
const kept = (page) =>
  page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    if (navigator.serviceWorker.controller) return;
    await new Promise((done) => navigator.serviceWorker.addEventListener('controllerchange', done, { once: true }));
  });

test('after one visit the page opens with the node gone, and finds it again', PATIENCE, async () => {
  const village = await Village.build();
  try {
    const page = await village.visitor('Mara');
    await kept(page);
    const session = await page.context().newCDPSession(page);
    const { installabilityErrors } = await session.send('Page.getInstallabilityErrors');
    assert.deepEqual(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito'), []);

    await village.node.stop();
    await village.site?.stop();
    await page.reload();
    await sees(page, 'Your node cannot be reached');
    await sees(page, 'Mara');
    // What is fetched only when it is wanted is there, too.
    await page.goto(`${village.origin}/#/settings/keys`);
    await sees(page, 'Where your keys are');
    await village.startNode();
    await page.goto(`${village.origin}/#/`);
    await reachable(page);
    assert.deepEqual(page.wrong.filter((line) => !/ERR_CONNECTION|ERR_FAILED|Failed to fetch/.test(line)), []);
  } finally {
    await village.end();
  }
});

/** A site that can be given a new version, and a browser that keeps it. */
async function site() {
  const folder = await mkdtemp(join(tmpdir(), 'dsip-site-'));
  await cp(new URL('dist-stage', import.meta.url), folder, { recursive: true });
  await rm(join(folder, 'sw.js.br'), { force: true });
  const served = await serve(folder);
  const browser = await launch();
  const context = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce', viewport: { width: 390, height: 844 } });
  await furnish(context);
  return {
    tab: async (scene) => {
      const page = await context.newPage();
      await open(page, served.origin, { scene });
      await kept(page);
      // A page that was loaded anew would have forgotten this.
      await page.evaluate(() => {
        globalThis.same = true;
      });
      return page;
    },
    /** Another version is there, and the page asks for it, as it does whenever one comes back to it. */
    renew: async (page) => {
      const path = join(folder, 'sw.js');
      const script = await readFile(path, 'utf8');
      const renewed = script.replace(/VERSION="[0-9a-f]+"/, `VERSION="${'0'.repeat(16)}"`);
      assert.notEqual(renewed, script);
      await writeFile(path, renewed);
      await page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration();
        await registration.update();
        const coming = registration.installing;
        if (coming) await new Promise((done) => coming.addEventListener('statechange', () => coming.state === 'installed' && done()));
      });
    },
    end: async () => {
      await browser.close();
      await served.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const same = (page) => page.evaluate(() => globalThis.same === true);

test('a new version is shown, taken by a press, and only shown in other tabs', PATIENCE, async () => {
  const { tab, renew, end } = await site();
  try {
    const [here, there] = [await tab('home'), await tab('home')];
    await renew(here);
    await sees(here, 'A new version is ready');
    await sees(there, 'A new version is ready');
    assert.ok((await same(here)) && (await same(there)));
    await here.getByRole('button', { name: 'Reload' }).click();
    await here.waitForFunction(() => globalThis.same === undefined);
    await reachable(here);
    assert.deepEqual(await here.evaluate(() => caches.keys()), [`dsip-${'0'.repeat(16)}`]);
    assert.ok(await same(there), 'nobody pressed there');
    await there.getByRole('button', { name: 'Reload' }).click();
    await there.waitForFunction(() => globalThis.same === undefined);
  } finally {
    await end();
  }
});

test('a new version waits for the end of a call', PATIENCE, async () => {
  const { tab, renew, end } = await site();
  try {
    const page = await tab('talking');
    await renew(page);
    await page.getByText('It will be used after your call.').waitFor({ state: 'attached' });
    assert.equal(await page.getByRole('button', { name: 'Reload' }).count(), 0);
    assert.ok(await same(page));
    await page.getByRole('button', { name: 'Hang up' }).click();
    await page.getByRole('button', { name: 'Reload' }).waitFor();
    assert.ok(await same(page));
  } finally {
    await end();
  }
});
