// People with the web phone, and people with terminals, around a real node. What they do here they do as people would: by what
// is written on the buttons.
import { Town } from '../client/test/town.js';
import { DEVICES, launch, YES } from './browser.mjs';
import { serve } from './serve.mjs';

/** The village's certificate is nobody's but its own. */
export const TRUSTING = ['--ignore-certificate-errors'];

/** The page is the one that the node has in it, unless another bundle is to be tried. */
export const { DIST } = process.env;

export class Village extends Town {
  async serve() {
    if (DIST !== undefined) this.site = await serve(DIST);
    this.origin = this.site?.origin ?? new URL(this.address.replace(/^wss/, 'https')).origin;
    this.browser = await launch([DEVICES, YES, ...TRUSTING]);
  }

  async end() {
    await this.browser?.close();
    await this.site?.stop();
    await super.end();
  }

  /** Somebody's browser, before the first visit. A page that no node served is told which one is its own. */
  async browserOf(options = {}) {
    const context = await this.browser.newContext({ ignoreHTTPSErrors: true, locale: 'en-GB', viewport: { width: 390, height: 844 }, ...options });
    await context.addInitScript((node) => {
      if (node !== undefined) {
        const stored = JSON.parse(localStorage.getItem('dsip.prefs') ?? '{}');
        localStorage.setItem('dsip.prefs', JSON.stringify({ ...stored, node }));
      }
      // How often something was made to sound in this tab.
      globalThis.struck = 0;
      const { createOscillator } = BaseAudioContext.prototype;
      BaseAudioContext.prototype.createOscillator = function () {
        globalThis.struck++;
        return createOscillator.call(this);
      };
    }, this.site && this.address);
    return context;
  }

  /** Opens the page. What goes wrong in it is kept in `page.wrong`. */
  async tab(context, fragment = '') {
    const page = await context.newPage();
    page.setDefaultTimeout(45_000);
    page.wrong = [];
    page.on('pageerror', (error) => page.wrong.push(error.message));
    page.on('console', (message) => {
      if (process.env.DSIP_TEST_CONSOLE) console.error(message.text());
      if (message.type() === 'error') page.wrong.push(message.text());
    });
    await page.goto(`${this.origin}/${fragment}`);
    return page;
  }

  /** Somebody on a first visit: a name, and done. Without a fragment, reachable when this returns. */
  async visitor(name, { open = false, fragment = '', ...options } = {}) {
    const context = await this.browserOf(options);
    const page = await this.tab(context, fragment);
    await page.getByLabel('Your name').fill(name);
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByRole('navigation').waitFor();
    // On a phone only the first place says so.
    if (fragment === '') await reachable(page);
    if (open) await openDoor(page);
    return page;
  }
}

/** Waits for what is to be seen, or says what is seen instead. */
async function see(page, locator) {
  try {
    await locator.locator('visible=true').first().waitFor();
  } catch (error) {
    error.message += `\nThe page says:\n${await page.locator('body').innerText()}\nIts console: ${page.wrong.join('\n')}`;
    throw error;
  }
}

export const reachable = (page) => see(page, page.getByText('Reachable'));

/** Whoever wants may call: switched in the settings, as a person would. */
export async function openDoor(page) {
  await page.goto(`${new URL(page.url()).origin}/#/settings/calls`);
  const door = page.getByRole('switch', { name: 'Unknown people have to ask first' });
  await door.click();
  await page.waitForFunction((element) => !element.checked, await door.elementHandle());
  await page.goto(`${new URL(page.url()).origin}/#/`);
}

/** What a button copies. */
export async function copied(page, button) {
  await page.evaluate(() => {
    globalThis.copied = undefined;
    navigator.clipboard.writeText = async (text) => {
      globalThis.copied = text;
    };
  });
  await page.getByRole('button', { name: button }).click();
  await page.waitForFunction(() => globalThis.copied !== undefined);
  return page.evaluate(() => globalThis.copied);
}

/** The link that the page shows. */
export const linkOf = async (page) => (await copied(page, 'Copy link')).replace(/^https:[^#]*#/, '');

/** Looks somebody up by what was pasted, and presses Call. */
export async function dial(page, link, how = 'Call') {
  await page.goto(`${new URL(page.url()).origin}/#/`);
  await page.getByLabel('Who do you want to call?').fill(link);
  await page.keyboard.press('Enter');
  await page.getByRole('main').getByRole('button', { name: how, exact: true }).click();
}

export const press = (page, name) => page.getByRole('button', { name, exact: true }).click();
export const sees = (page, text) => see(page, page.getByText(text));
export const talks = (page) => see(page, page.getByRole('timer'));

/** How loud the other is in this page: the loudest 20 ms of what the element plays, until there is some. */
export async function hears(page) {
  await page.waitForFunction(() => document.querySelector('video.picture__main')?.srcObject?.getAudioTracks().length > 0);
  return page.evaluate(async () => {
    const video = document.querySelector('video.picture__main');
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(video.srcObject).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    for (let round = 0; round < 1_000; round++) {
      analyser.getFloatTimeDomainData(samples);
      const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
      if (loudest > 0.02) return loudest;
      await new Promise((next) => setTimeout(next, 20));
    }
    return 0;
  });
}

/** How many pictures of the other were shown, once there are some. */
export async function pictures(page) {
  await page.waitForFunction(() => document.querySelector('video.picture__main')?.getVideoPlaybackQuality().totalVideoFrames > 5);
  return page.evaluate(() => document.querySelector('video.picture__main').getVideoPlaybackQuality().totalVideoFrames);
}
