// Calls through the page, by what is written on its buttons, against a real node.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import encodeQR from 'qr';
import { loudness } from '../client/test/town.js';
import { accessible, DEVICES, launch, YES } from './browser.mjs';
import { copied, dial, DIST, hears, linkOf, openDoor, pictures, press, reachable, sees, talks, TRUSTING, Village } from './village.mjs';

const PATIENCE = { timeout: 180_000 };
let village;
before(async () => {
  village = await Village.build();
}, PATIENCE);
after(() => village?.end());

const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));

test('browser to browser: a name, a link, a press; heard on both sides; mute, hold, text', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  // Alice comes by the link itself; it does not call.
  const alice = await village.visitor('Alice', { fragment: `#${link}` });
  await sees(alice, '“Bob”');
  assert.equal(await alice.locator('.room').count(), 0);
  await press(alice, 'Call');
  await sees(bob, '“Alice”');
  await sees(bob, 'Self-made key; nobody vouches for the name');
  assert.match(await bob.title(), /Alice.* is calling/);
  await accessible(bob, 'while it rings');
  await press(bob, 'Answer');
  await Promise.all([talks(alice), talks(bob)]);
  assert.ok((await hears(alice)) > 0.02);
  assert.ok((await hears(bob)) > 0.02);

  await accessible(alice, 'in the call');

  await press(alice, 'Mute');
  await sees(alice, 'You are muted');
  await press(alice, 'Unmute');

  await press(alice, 'More');
  await press(alice, 'Hold');
  await sees(alice, 'Neither of you hears the other.');
  await sees(bob, /put you on hold/);
  await press(alice, 'Resume');
  await bob.getByText(/put you on hold/).waitFor({ state: 'detached' });

  await press(alice, 'More');
  await alice.locator('.tile', { hasText: 'Text' }).click();
  await press(bob, 'More');
  await bob.locator('.tile', { hasText: 'Text' }).click();
  await alice.getByLabel(/Type to/).pressSequentially('platfrom');
  await sees(bob, 'platfrom');
  for (let i = 0; i < 4; i++) await alice.keyboard.press('Backspace');
  await alice.keyboard.type('form <b>7</b>');
  await sees(bob, 'platform <b>7</b>');

  await press(alice, 'Encrypted end to end');
  await sees(alice, 'Believed because');
  const theirs = await alice.getByText(/^sha-256 /).first().innerText();
  await press(bob, 'Encrypted end to end');
  assert.equal(await bob.getByText(/^sha-256 /).nth(1).innerText(), theirs, 'what Alice sees as Bob’s is what Bob sees as his');
  await alice.keyboard.press('Escape');
  await bob.keyboard.press('Escape');

  await press(alice, 'Hang up');
  await sees(bob, 'The call is over.');
  await bob.goto(`${village.origin}/#/recents`);
  await sees(bob, /^Incoming · /);
  assert.equal(await bob.getByText(/^Missed · /).count(), 0);
  assert.deepEqual(alice.wrong.concat(bob.wrong), []);
  await close(alice, bob);
});

test('with pictures, both ways, and a camera that goes off and on', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob), 'Video call');
  await sees(bob, 'Incoming video call');
  await press(bob, 'With video');
  await Promise.all([talks(alice), talks(bob)]);
  assert.ok((await pictures(alice)) > 5);
  assert.ok((await pictures(bob)) > 5);
  assert.ok((await hears(alice)) > 0.02);
  await press(alice, 'Camera off');
  await alice.getByRole('button', { name: 'Camera on', exact: true }).waitFor();
  await press(bob, 'Hang up');
  await sees(alice, 'The call is over.');
  await close(alice, bob);
});

test('a call that was declined says so, and was not missed', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob));
  await press(bob, 'Decline');
  await sees(alice, 'They declined.');
  await bob.goto(`${village.origin}/#/recents`);
  await sees(bob, /^You declined · /);
  await alice.locator('.room').getByRole('button', { name: 'Close' }).click();
  await alice.goto(`${village.origin}/#/recents`);
  await sees(alice, /^Declined · /);
  await close(alice, bob);
});

test('a caller who gave up was missed', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob));
  await sees(bob, 'Incoming call');
  await press(alice, 'Hang up');
  await bob.locator('.room').waitFor({ state: 'detached' });
  await sees(bob, /Missed call from/);
  await bob.goto(`${village.origin}/#/recents`);
  await sees(bob, /^Missed · /);
  await close(alice, bob);
});

test('a stranger asks first; a request never rings; once let in, they ring', PATIENCE, async () => {
  const bob = await village.visitor('Bob');
  const alice = await village.visitor('Alice');
  const link = await linkOf(bob);
  await dial(alice, link);
  await sees(alice, 'They take calls only from people they let in. You can ask.');
  assert.equal(await bob.locator('.room').count(), 0, 'it rang');
  await alice.locator('.room').getByRole('button', { name: 'Ask to be let in' }).click();
  await alice.getByLabel('What is it about?').fill('The seeds <i>I</i> promised');
  await press(alice, 'Send request');
  await sees(alice, /Request sent/);
  await bob.getByRole('link', { name: '1 request to call you' }).click();
  await sees(bob, 'The seeds <i>I</i> promised');
  assert.equal(await bob.locator('.room').count(), 0, 'a request rang');
  assert.equal(await bob.evaluate(() => globalThis.struck), 0, 'a request sounded');
  await press(bob, 'Let them call');
  await alice.getByText(/lets you call now/).first().waitFor();
  await dial(alice, link);
  await press(bob, 'Answer');
  await Promise.all([talks(alice), talks(bob)]);
  await press(bob, 'Hang up');
  await close(alice, bob);
});

test('screening is shown to who is screened, and ends by talking', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob));
  await press(bob, 'Screen');
  await sees(bob, 'You are screening');
  await sees(alice, 'You are being screened');
  assert.ok((await hears(bob)) > 0.02, 'who screens hears');
  await press(bob, 'Talk');
  await alice.getByText('You are being screened').waitFor({ state: 'detached' });
  assert.ok((await hears(alice)) > 0.02);
  await press(alice, 'Hang up');
  await close(alice, bob);
});

test('two tabs: both show it, one rings, one talks', PATIENCE, async () => {
  const first = await village.visitor('Bob', { open: true });
  const link = await linkOf(first);
  const second = await village.tab(first.context());
  await reachable(second);
  // Browsers let a tab sound only after a touch.
  for (const tab of [first, second]) await tab.locator('h1').first().click();
  const alice = await village.visitor('Alice');
  await dial(alice, link);
  await Promise.all([sees(first, 'Incoming call'), sees(second, 'Incoming call')]);
  const ringing = () => Promise.all([first, second].map((tab) => tab.evaluate(() => globalThis.struck > 0)));
  await Promise.any([first, second].map((tab) => tab.waitForFunction(() => globalThis.struck > 0)));
  assert.deepEqual((await ringing()).filter(Boolean).length, 1, 'exactly one tab rings');
  await press(second, 'Answer');
  await Promise.all([talks(second), talks(alice)]);
  await sees(first, 'This call is in another tab');
  await press(first, 'Hang up');
  await sees(alice, 'The call is over.');
  await close(alice, first);
});

test('in the background a call is a notification, which goes when the caller gives up', PATIENCE, async () => {
  const context = await village.browserOf();
  await context.grantPermissions(['notifications'], { origin: village.origin });
  await context.addInitScript(() => {
    document.hasFocus = () => false;
  });
  const bob = await village.tab(context);
  await bob.getByLabel('Your name').fill('Bob');
  await press(bob, 'Start');
  await reachable(bob);
  await openDoor(bob);
  await bob.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  const shown = (said) =>
    bob.waitForFunction(async (said) => {
      const all = await (await navigator.serviceWorker.ready).getNotifications();
      return all.length === 1 && all[0].title.includes(said);
    }, said);
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob));
  await sees(bob, 'Incoming call');
  await shown('is calling');
  await press(alice, 'Hang up');
  await sees(bob, /Missed call from/);
  await shown('Missed call from');
  await close(alice, bob);
});

test('browser to terminal, and a second caller finds it busy', PATIENCE, async () => {
  await village.identity('Carol');
  const wav = join(village.dir, 'carol.wav');
  const carol = village.terminal('Carol', 'answer', '--auto', 'accept', '--audio-in', 'tone:440', '--audio-out', wav);
  const { did } = await carol.until('waiting');
  await carol.until('ready');
  const link = `dsip:${did}?node=${encodeURIComponent(village.address)}&name=Carol`;
  const alice = await village.visitor('Alice');
  await dial(alice, link);
  await talks(alice);
  assert.ok((await hears(alice)) > 0.02);
  const bob = await village.visitor('Bob');
  await dial(bob, link);
  await sees(bob, 'They are in another call.');
  await press(alice, 'Hang up');
  await carol.until('ended');
  await carol.stop();
  const { rms } = loudness(wav);
  assert.ok(rms > 0.001, `the terminal heard ${rms}`);
  await close(alice, bob);
});

test('terminal to browser', PATIENCE, async () => {
  await village.identity('Dave');
  const wav = join(village.dir, 'dave.wav');
  const bob = await village.visitor('Bob', { open: true });
  const dave = village.terminal('Dave', 'call', await linkOf(bob), '--audio-in', 'tone:440', '--audio-out', wav, '--duration', '4');
  await sees(bob, '“Dave”');
  await press(bob, 'Answer');
  await talks(bob);
  assert.ok((await hears(bob)) > 0.02);
  await dave.ended;
  await sees(bob, 'The call is over.');
  assert.ok(loudness(wav).rms > 0.001);
  await close(bob);
});

test('a microphone that is refused is said to be, with a way on', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  // A browser that asks, and nobody who answers.
  const strict = await launch([DEVICES, ...TRUSTING]);
  const { browser } = village;
  village.browser = strict;
  try {
    const alice = await village.visitor('Alice');
    await dial(alice, link);
    await sees(alice, /This page may not use the microphone/);
    await press(alice, 'Call to listen only');
    await sees(bob, '“Alice”');
    await press(bob, 'Answer');
    await talks(alice);
    assert.ok((await hears(alice)) > 0.02, 'listening works all the same');
  } finally {
    village.browser = browser;
    await strict.close();
  }
  await close(bob);
});

test('the node goes away and comes back: said in words, and calls come in again', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  await village.node.stop();
  await sees(bob, 'Your node cannot be reached');
  await village.startNode();
  await reachable(bob);
  const alice = await village.visitor('Alice');
  await dial(alice, link);
  await press(bob, 'Answer');
  await talks(alice);
  await close(alice, bob);
});

test('people: added, known by their key, blocked without being told, and let in again', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  const alice = await village.visitor('Alice');
  const ring = async () => {
    await dial(alice, link);
    await sees(bob, 'Incoming call');
  };
  const over = async () => {
    await alice.locator('.room').getByRole('button', { name: 'Close' }).click();
    await bob.locator('.room').waitFor({ state: 'detached' });
  };
  await ring();
  await press(bob, 'Decline');
  await over();
  await bob.getByRole('link', { name: 'Recents' }).click();
  await bob.getByRole('link', { name: /Alice/ }).click();
  await press(bob, 'Add to people');
  await bob.getByLabel('Name', { exact: true }).fill('Alice from the choir');
  await press(bob, 'Save');
  await bob.getByRole('heading', { name: 'Alice from the choir', level: 2 }).waitFor();

  await ring();
  const room = bob.locator('.room');
  await room.getByText('Alice from the choir', { exact: true }).waitFor();
  await room.getByText('The key you know them by').waitFor();
  await press(bob, 'Decline');
  await over();

  await press(bob, 'Block');
  await bob.getByRole('dialog').getByRole('button', { name: 'Block' }).click();
  await sees(bob, 'Blocked: nothing from them reaches you.');
  await dial(alice, link);
  await alice.locator('.room').getByRole('button', { name: 'Close' }).waitFor();
  assert.equal(await room.count(), 0, 'a blocked person rang');
  await alice.locator('.room').getByRole('button', { name: 'Close' }).click();

  await press(bob, 'Unblock');
  await ring();
  await press(bob, 'Answer');
  await Promise.all([talks(alice), talks(bob)]);
  await close(alice, bob);
});

test('two devices of one person: linked by their codes, both ring, one answers, the other missed nothing', PATIENCE, async () => {
  const first = await village.visitor('Bob', { open: true });
  const link = await linkOf(first);
  const second = await village.tab(await village.browserOf());
  await press(second, 'I have an identity already');
  await second.getByText('From another device').click();
  const request = await copied(second, 'Copy code');
  await first.goto(`${village.origin}/#/settings/devices`);
  await press(first, 'Link another device');
  await first.getByLabel('Or paste what it shows').fill(request);
  await first.keyboard.press('Enter');
  await sees(first, 'Are the numbers alike on both screens?');
  const numbers = (page) => page.locator('.fingerprint').innerText();
  assert.equal(await numbers(first), await numbers(second));
  await press(first, 'They are alike');
  await second.getByLabel('Or paste what it shows').fill(await copied(first, 'Copy code'));
  await second.keyboard.press('Enter');
  await reachable(second);
  await openDoor(second);
  await press(first, 'Done');

  const alice = await village.visitor('Alice');
  await dial(alice, link);
  await Promise.all([sees(first, 'Incoming call'), sees(second, 'Incoming call')]);
  await press(second, 'Answer');
  await Promise.all([talks(second), talks(alice)]);
  await first.locator('.room').waitFor({ state: 'detached' });
  await first.goto(`${village.origin}/#/recents`);
  await sees(first, /^Taken elsewhere · /);
  assert.equal(await first.getByText(/^Missed/).count(), 1, 'only the filter is called so');
  await press(alice, 'Hang up');
  await close(first, second, alice);
});

test('a screen, another microphone, its level, and a small window', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const alice = await village.visitor('Alice');
  await dial(alice, await linkOf(bob), 'Video call');
  await press(bob, 'With video');
  await Promise.all([talks(alice), talks(bob)]);

  await press(alice, 'More');
  await press(alice, 'Share screen');
  await sees(alice, 'You are sharing your screen');
  await bob.waitForFunction(() => document.querySelector('video.picture__screen')?.getVideoPlaybackQuality().totalVideoFrames > 0);
  await press(alice, 'Stop sharing');
  await bob.locator('video.picture__screen').waitFor({ state: 'hidden' });

  await press(alice, 'More');
  await press(alice, 'Devices');
  const level = alice.getByRole('meter', { name: 'Microphone level' });
  await alice.waitForFunction((meter) => Number(meter.getAttribute('aria-valuenow')) > 0, await level.elementHandle());
  const microphones = alice.getByLabel('Microphone', { exact: true });
  assert.ok((await microphones.locator('option').count()) > 2);
  await microphones.selectOption({ index: 2 });
  await alice.keyboard.press('Escape');
  assert.ok((await hears(bob)) > 0.02, 'the other microphone is heard');

  await press(bob, 'More');
  await press(bob, 'Small window');
  await bob.waitForFunction(() => document.pictureInPictureElement?.classList.contains('picture__main'));
  assert.deepEqual(alice.wrong.concat(bob.wrong), []);
  await close(alice, bob);
});

test('through a relay only, and said so', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  const alice = await village.visitor('Alice');
  await alice.goto(`${village.origin}/#/settings/calls`);
  await alice.getByRole('switch', { name: 'Hide my network address' }).click();
  await alice.goto(`${village.origin}/#/`);
  await reachable(alice);
  await dial(alice, link);
  await press(bob, 'Answer');
  await Promise.all([talks(alice), talks(bob)]);
  assert.ok((await hears(bob)) > 0.02);
  await press(alice, 'Encrypted end to end');
  await sees(alice, 'Through a relay that sees encrypted packets only');
  await close(alice, bob);
});

test('no microphone and no camera: said in words, and one can listen', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const link = await linkOf(bob);
  const { browser } = village;
  village.browser = await launch([YES, ...TRUSTING]);
  try {
    const alice = await village.visitor('Alice');
    await press(alice, 'Scan a code');
    await sees(alice, 'No camera was found. You can still talk.');
    await alice.keyboard.press('Escape');
    await dial(alice, link);
    await sees(alice, 'No microphone was found. Plug one in, or call to listen only.');
    await press(alice, 'Call to listen only');
    await press(bob, 'Answer');
    await talks(alice);
    assert.ok((await hears(alice)) > 0.02);
  } finally {
    await village.browser.close();
    village.browser = browser;
  }
  await close(bob);
});

// Only the node that serves the page may say what time it is there.
test('a clock that is wrong is said to be', { ...PATIENCE, skip: DIST !== undefined && 'this page is not the node’s' }, async () => {
  const context = await village.browserOf();
  await context.addInitScript(() => {
    const { now } = Date;
    Date.now = () => now() + 3_600_000;
  });
  const page = await village.tab(context);
  await page.getByLabel('Your name').fill('Late');
  await press(page, 'Start');
  await sees(page, 'This device’s clock is wrong');
  await close(page);
});

test('a code in front of the camera is read, and calls nobody', PATIENCE, async () => {
  const bob = await village.visitor('Bob', { open: true });
  const film = join(village.dir, 'code.y4m');
  writeFileSync(film, filmOf(await linkOf(bob)));
  const { browser } = village;
  village.browser = await launch([DEVICES, YES, `--use-file-for-fake-video-capture=${film}`, ...TRUSTING]);
  try {
    const alice = await village.visitor('Alice');
    await press(alice, 'Scan a code');
    await alice.getByRole('heading', { name: 'Before you call' }).waitFor();
    await sees(alice, '“Bob”');
    assert.equal(await bob.locator('.room').count(), 0);
  } finally {
    await village.browser.close();
    village.browser = browser;
  }
  await close(bob);
});

/** A film of a QR code, as a camera would give it: one picture, uncompressed. */
function filmOf(text) {
  const [width, height] = [640, 480];
  const rows = encodeQR(text, 'raw', { border: 4, ecc: 'medium' });
  const scale = Math.floor(height / rows.length);
  const luma = new Uint8Array(width * height).fill(235);
  rows.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (!dark) return;
      for (let line = y * scale; line < (y + 1) * scale; line++) luma.fill(16, line * width + 80 + x * scale, line * width + 80 + (x + 1) * scale);
    }),
  );
  const chroma = new Uint8Array(width * height * 0.5).fill(128);
  return Buffer.concat([Buffer.from(`YUV4MPEG2 W${width} H${height} F10:1 Ip A1:1 C420mpeg2\nFRAME\n`), luma, chroma]);
}
