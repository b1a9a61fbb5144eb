// Every face of the page: which scenery of the stage, which place, and what is pressed to get there.
const settings = ['you', 'keys', 'devices', 'calls', 'look', 'node', 'about'];
const press = (name, role = 'button') => async (page) => page.getByRole(role, { name, exact: true }).first().click();
const then = (...steps) => async (page) => {
  for (const step of steps) await step(page);
};
const bob = 'dsip:did:key:z6MksQ35B5bwZDQq4QKuhQW2Sv6dcqwg4PqcSFf67pdgrtjB?name=Bob%20Moss';

export const SCENES = [
  { name: 'welcome', scene: 'first' },
  { name: 'welcome-invited', scene: 'first', hash: `#${bob}` },
  { name: 'restore', scene: 'first', act: press('I have an identity already') },
  { name: 'restore-device', scene: 'linking', act: then(press('I have an identity already'), async (page) => page.getByText('From another device').click()) },
  { name: 'restore-words', scene: 'first', act: then(press('I have an identity already'), async (page) => page.getByText('From 24 words').click()) },
  { name: 'broken', scene: 'broken' },
  { name: 'home-empty', scene: 'empty' },
  { name: 'home', scene: 'home' },
  { name: 'home-unreachable', scene: 'unreachable' },
  { name: 'home-clock', scene: 'clock' },
  { name: 'home-replaced', scene: 'replaced' },
  { name: 'code', scene: 'home', hash: '#/code' },
  { name: 'scan', scene: 'home', act: press('Scan a code') },
  { name: 'to', scene: 'home', hash: `#${bob}` },
  { name: 'to-domain', scene: 'home', hash: '#/to/front-desk%40clinic.example' },
  { name: 'to-nobody', scene: 'home', hash: '#/to/nothing' },
  { name: 'ask', scene: 'home', hash: `#${bob}`, act: press('Ask to be let in') },
  { name: 'ask-failed', scene: 'unasked', hash: `#${bob}`, act: then(press('Ask to be let in'), press('Send request'), async (page) => page.getByText('That is not possible right now.').waitFor()) },
  { name: 'people', scene: 'home', hash: '#/people' },
  { name: 'people-empty', scene: 'empty', hash: '#/people' },
  { name: 'person', scene: 'home', hash: '#/person/did%3Akey%3Az6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH' },
  { name: 'block', scene: 'home', hash: '#/person/did%3Akey%3Az6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH', act: press('Block') },
  { name: 'requests', scene: 'home', hash: '#/requests' },
  { name: 'requests-empty', scene: 'empty', hash: '#/requests' },
  { name: 'recents', scene: 'home', hash: '#/recents' },
  { name: 'recents-empty', scene: 'empty', hash: '#/recents' },
  { name: 'settings', scene: 'home', hash: '#/settings' },
  ...settings.map((section) => ({ name: `settings-${section}`, scene: 'home', hash: `#/settings/${section}` })),
  { name: 'words', scene: 'home', hash: '#/settings/keys', act: then(async (page) => page.getByText('Write down 24 words').click(), press('Show the words')) },
  { name: 'backup', scene: 'home', hash: '#/settings/keys', act: async (page) => page.getByText('Save a backup file').click() },
  { name: 'guard', scene: 'volatile', hash: '#/settings/keys', act: async (page) => page.getByText('Guard your identity key').click() },
  { name: 'link', scene: 'home', hash: '#/settings/devices', act: press('Link another device') },
  {
    name: 'link-compare',
    scene: 'home',
    hash: '#/settings/devices',
    act: then(press('Link another device'), async (page) => {
      await page.getByLabel('Or paste what it shows').fill('dsip-device:x');
      await page.keyboard.press('Enter');
    }),
  },
  { name: 'outgoing', scene: 'outgoing' },
  { name: 'incoming', scene: 'incoming' },
  { name: 'incoming-video', scene: 'incoming-video' },
  { name: 'incoming-unknown', scene: 'incoming-unknown' },
  { name: 'call', scene: 'talking' },
  { name: 'call-more', scene: 'talking', act: press('More') },
  { name: 'call-details', scene: 'talking', act: press('Encrypted end to end') },
  { name: 'call-devices', scene: 'talking', act: then(press('More'), press('Devices')) },
  { name: 'call-poor', scene: 'poor' },
  { name: 'call-video', scene: 'video' },
  { name: 'call-screen', scene: 'screen' },
  { name: 'call-captions', scene: 'captions' },
  { name: 'call-text', scene: 'text', act: then(press('More'), async (page) => page.locator('.tile', { hasText: 'Text' }).click()) },
  { name: 'call-screened', scene: 'screened' },
  { name: 'call-screening', scene: 'screening' },
  { name: 'call-held', scene: 'held' },
  { name: 'call-service', scene: 'service' },
  { name: 'call-elsewhere', scene: 'elsewhere' },
  { name: 'call-wants', scene: 'wants' },
  { name: 'call-waiting', scene: 'waiting' },
  { name: 'call-toast', scene: 'noscreen', act: then(press('More'), press('Share screen'), async (page) => page.getByText('The screen was not shared.').waitFor()) },
  { name: 'call-bar', scene: 'talking', act: press('Minimise') },
  { name: 'failed', scene: 'failing', hash: `#${bob}`, act: press('Call') },
  { name: 'strict', scene: 'strict', hash: `#${bob}`, act: press('Call') },
  { name: 'no-microphone', scene: 'nomic', hash: `#${bob}`, act: press('Call') },
];

/** What the page finds in its storage: somebody lives here, except where the scenery is a first visit. Once per context. */
export function furnish(context) {
  return context.addInitScript(() => {
    if (location.origin === 'null') return; // about:blank has none
    const first = /scene=(first|linking)/.test(location.search);
    localStorage.setItem('dsip.prefs', JSON.stringify({ settled: !first }));
  });
}

/** Opens a face: the theme, the size and the language come with the page. */
export async function open(page, origin, { scene, hash = '', act }, query = '') {
  // Another fragment alone would be no new page.
  await page.goto('about:blank');
  await page.goto(`${origin}/?scene=${scene}${query}${hash}`);
  await page.locator('#root > *').first().waitFor();
  await page.evaluate(() => document.fonts.ready);
  await page.waitForFunction(() => document.querySelector('.opening') === null || document.querySelector('.opening h1') !== null);
  if (act) await act(page);
  // Nothing more to fetch, nothing more that moves in.
  await page.waitForFunction(() => document.querySelector('.progress') === null);
  await page.evaluate(() =>
    Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations !== Infinity).map((a) => a.finished.catch(() => undefined))),
  );
}
