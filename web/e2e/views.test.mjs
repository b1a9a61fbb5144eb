// Every face of the page, in light and dark, on a phone and a desktop: axe finds nothing (WCAG 2.2 AA), the policy refuses
// nothing, nothing is fetched from elsewhere, nothing hangs over the edge. On the stage; see stage/client.ts.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { accessible, launch, SIZES, watch } from './browser.mjs';
import { furnish, open, SCENES } from './scenes.mjs';
import { serve } from './serve.mjs';

let browser;
let site;
before(async () => {
  site = await serve(new URL('dist-stage', import.meta.url).pathname);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

/** A page of its own, which every scene of one look goes through. */
async function pageOf(options) {
  const context = await browser.newContext({ reducedMotion: 'reduce', locale: 'en-GB', serviceWorkers: 'block', ...options });
  await furnish(context);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const elsewhere = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(site.origin) && !/^(data|blob):/.test(request.url())) elsewhere.push(request.url());
  });
  return { page, seen: watch(page), elsewhere, close: () => context.close() };
}

const BROKEN_ON_PURPOSE = /unsupported-browser/;

async function check({ page, seen, elsewhere }, scene, query) {
  seen.length = 0;
  await open(page, site.origin, scene, query);
  const overhang = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overhang <= 0, `${scene.name} hangs over by ${overhang} px`);
  const cut = await page.evaluate(() =>
    [...document.querySelectorAll('.room:not(.room--away) button')]
      .filter((button) => button.closest('dialog') === null)
      .filter((button) => {
        const { width, left, right, top, bottom } = button.getBoundingClientRect();
        return width > 0 && (left < 0 || right > innerWidth || top < 0 || bottom > innerHeight);
      })
      .map((button) => button.textContent),
  );
  assert.deepEqual(cut, [], `${scene.name}: buttons beyond the edge`);
  const covered = await page.evaluate(() =>
    [...document.querySelectorAll('.room:not(.room--away) :is(.controls, .room__actions) button')]
      .filter(() => document.querySelector('dialog[open]') === null)
      .filter((button) => {
        const { left, top, width, height } = button.getBoundingClientRect();
        return width > 0 && !button.contains(document.elementFromPoint(left + width / 2, top + height / 2));
      })
      .map((button) => button.textContent),
  );
  assert.deepEqual(covered, [], `${scene.name}: buttons under something`);
  const moving = await page.evaluate(() => document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime > 1).length);
  assert.equal(moving, 0, `${scene.name} moves for who wants no motion`);
  await accessible(page, scene.name);
  assert.deepEqual(seen.filter((line) => !BROKEN_ON_PURPOSE.test(line)), [], `${scene.name}: errors`);
  assert.deepEqual(elsewhere, [], `${scene.name}: requests to others`);
}

for (const [name, options, query] of [
  ['a phone, light', { viewport: SIZES.phone, colorScheme: 'light' }, ''],
  ['a desktop, dark', { viewport: SIZES.desktop, colorScheme: 'dark' }, ''],
  ['a small phone, dark, from right to left', { viewport: { width: 320, height: 640 }, colorScheme: 'dark' }, '&lang=qps-plocm'],
  ['a phone held sideways, light', { viewport: { width: 844, height: 390 }, colorScheme: 'light' }, ''],
  ['a desktop, light, German', { viewport: SIZES.desktop, colorScheme: 'light', locale: 'de-DE' }, ''],
]) {
  describe(`the page on ${name}`, () => {
    let look;
    before(async () => {
      look = await pageOf(options);
    });
    after(() => look?.close());
    // Faces behind a press are reached by their English words.
    const scenes = SCENES.filter((scene) => (query === '' && options.locale === undefined) || scene.act === undefined);
    for (const scene of scenes) it(scene.name, () => check(look, scene, query));
  });
}

describe('keyboard alone', () => {
  it('dials, and a dialog holds the focus and gives it back', async () => {
    const { page, close } = await pageOf({ viewport: SIZES.desktop });
    await open(page, site.origin, { scene: 'home' });
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Skip to content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'INPUT');
    await page.keyboard.type('dsip:did:key:z6MksQ35B5bwZDQq4QKuhQW2Sv6dcqwg4PqcSFf67pdgrtjB?name=Bob');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Ask to be let in' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'TEXTAREA');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Ask to be let in');
    await close();
  });

  it('answers, and what lies under the call is out of reach', async () => {
    const { page, close } = await pageOf({ viewport: SIZES.desktop });
    await open(page, site.origin, { scene: 'incoming' });
    const names = [];
    for (let i = 0; i < 3; i++) {
      await page.keyboard.press('Tab');
      names.push(await page.evaluate(() => document.activeElement?.textContent));
    }
    assert.deepEqual(names, ['Decline', 'Screen', 'Answer']);
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Mute' }).waitFor();
    assert.equal(await page.locator('.shell').getAttribute('inert'), '');
    await close();
  });
});

describe('what peers say', () => {
  it('is text, never markup, and does not turn the sentence around it', async () => {
    const { page, close } = await pageOf({ viewport: SIZES.phone });
    const name = encodeURIComponent('<img src=x onerror=alert(1)>\u202E evil');
    await open(page, site.origin, { scene: 'home', hash: `#dsip:did:key:z6MksQ35B5bwZDQq4QKuhQW2Sv6dcqwg4PqcSFf67pdgrtjB?name=${name}` });
    assert.equal(await page.locator('main img').count(), 0);
    assert.match(await page.locator('.callee h2').innerText(), /<img src=x onerror=alert\(1\)>/);
    const said = await page.getByText('The link calls them').innerText();
    assert.ok(!said.includes('\u202E'), 'an override inside our sentence');
    await close();
  });

  it('a link that was opened calls nobody before a press, and stands nowhere any more (WPH-23, WPH-24)', async () => {
    const { page, close } = await pageOf({ viewport: SIZES.phone });
    await open(page, site.origin, { scene: 'home', hash: '#dsip%3Adid%3Akey%3Az6MksQ35B5bwZDQq4QKuhQW2Sv6dcqwg4PqcSFf67pdgrtjB' });
    await page.getByRole('heading', { name: 'Before you call' }).waitFor();
    assert.equal(await page.locator('.room').count(), 0);
    assert.ok(!/#dsip/i.test(page.url()), page.url());
    await page.getByRole('button', { name: 'Call', exact: true }).click();
    await page.locator('.room').waitFor();
    await close();
  });
});
