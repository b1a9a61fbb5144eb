import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin, transformWithOxc } from 'vite';
import { de } from './src/i18n/de.ts';
import { en } from './src/i18n/en.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const version = (JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string }).version;

/** The hash for Subresource Integrity. */
function integrity(content: string | Uint8Array): string {
  return `sha384-${createHash('sha384').update(content).digest('base64')}`;
}

/** Words for a push, which comes when no page is open that could translate. */
const WORDS = Object.fromEntries(
  Object.entries({ en, de }).map(([language, words]) => [
    language,
    { title: words['notify.call'], body: words['notify.call.body'] },
  ]),
);

/**
 * What makes the bundle one whole that checks itself: every script and style in the page has its hash, the service worker has
 * the hash of every file, and each file that compresses lies there compressed, too. It works on what was written, since Vite
 * goes on changing scripts until the end.
 */
function sealed(): Plugin {
  return {
    name: 'sealed',
    apply: 'build',
    enforce: 'post',
    async writeBundle({ dir }) {
      if (dir === undefined) throw new Error('nowhere to write to');
      const read = (name: string) => readFileSync(join(dir, name));
      const write = (name: string, content: string | Uint8Array) => writeFileSync(join(dir, name), content);

      const html = read('index.html')
        .toString()
        .replace(/ crossorigin/g, '')
        .replace(/(src|href)="\.\/(assets\/[^"]+\.(?:js|css))"/g, (whole, _attribute, name: string) => {
          return `${whole} integrity="${integrity(read(name))}"`;
        });
      write('index.html', html);

      const names = readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(dir, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
        .sort();
      const files = names.map((name) => [`./${name}`, integrity(read(name))] as const);
      const version = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 16);
      const { code } = await transformWithOxc(readFileSync(here('src/sw.ts'), 'utf8'), 'sw.ts', { lang: 'ts' });
      const given = Object.entries({ VERSION: version, FILES: files, WORDS })
        .map(([name, value]) => `const ${name}=${JSON.stringify(value)};\n`)
        .join('');
      write('sw.js', given + code.replace(/^export\s*\{\s*\};?\s*$/m, ''));

      for (const name of [...names, 'sw.js']) {
        const plain = read(name);
        const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length } });
        if (/\.(woff2|png)$/.test(name) || brotli.length >= plain.length) continue;
        write(`${name}.br`, brotli);
        write(`${name}.gz`, gzipSync(plain, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  define: { __VERSION__: JSON.stringify(version) },
  plugins: [sealed()],
  build: {
    outDir: process.env.OUT_DIR ?? '../dist',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  resolve: process.env.DSIP_CLIENT ? { alias: { '@dsip/client': process.env.DSIP_CLIENT } } : {},
});
