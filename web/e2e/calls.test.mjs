// Calls through the page, by what is written on its buttons, against a real node.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loudness } from '../client/test/town.js';
import { launch } from './browser.mjs';
import { dial, hears, linkOf, pictures, press, reachable, sees, talks, TRUSTING, Village } from './village.mjs';

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
  await press(bob, 'Answer');
  await Promise.all([talks(alice), talks(bob)]);
  assert.ok((await hears(alice)) > 0.02);
  assert.ok((await hears(bob)) > 0.02);

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
  const strict = await launch(TRUSTING);
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
