// Draws the PNG icons from their originals. They are kept in the tree: a build needs no browser.
import { readFile, writeFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

const here = new URL('.', import.meta.url);
const jobs = [
  ['../public/icon.svg', 192, '../public/icon-192.png'],
  ['../public/icon.svg', 512, '../public/icon-512.png'],
  ['icon-maskable.svg', 512, '../public/icon-maskable-512.png'],
  ['badge.svg', 96, '../public/badge.png'],
];
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
for (const [from, size, to] of jobs) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  const svg = await readFile(new URL(from, here), 'utf8');
  await page.setContent(`<style>html,body{margin:0}svg{display:block;width:${size}px;height:${size}px}</style>${svg}`);
  await writeFile(new URL(to, here), await page.screenshot({ omitBackground: true }));
}
await browser.close();
