import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';
import { transformWithOxc } from 'vite';
import { de } from './src/i18n/de.ts';
import { en } from './src/i18n/en.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const version = (JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string }).version;

/** The hash for Subresource Integrity. */
function integrity(content: string | Uint8Array): string {
  return `sha384-${createHash('sha384').update(content).digest('base64')}`;
}

const PUBLIC = ['manifest.webmanifest', 'icon.svg', 'icon-192.png', 'icon-512.png', 'icon-maskable-512.png', 'badge.png'];

/**
 * What makes the bundle one whole that checks itself: every script and style in the page has its hash, the service worker has
 * the hash of every file, and each file that compresses lies there compressed, too.
 */
function sealed(): Plugin {
  return {
    name: 'sealed',
    apply: 'build',
    enforce: 'post',
    async generateBundle(_options, bundle) {
      const content = (name: string): string | Uint8Array => {
        const found = bundle[name];
        if (found === undefined) throw new Error(`${name} is not in the bundle`);
        return found.type === 'chunk' ? found.code : found.source;
      };
      const page = bundle['index.html'];
      if (page?.type !== 'asset') throw new Error('no index.html in the bundle');
      const html = String(page.source)
        .replace(/ crossorigin/g, '')
        .replace(/<(script|link)([^>]*?)(src|href)="\.\/(assets\/[^"]+\.(?:js|css))"/g, (_whole, tag, before, attribute, name) => {
          return `<${tag}${before}${attribute}="./${name}" integrity="${integrity(content(name))}"`;
        });
      page.source = html;

      const files = Object.keys(bundle)
        .filter((name) => name !== 'sw.js' && !name.endsWith('.map'))
        .sort()
        .map((name) => [`./${name}`, integrity(content(name))] as const);
      const all = [...files, ...PUBLIC.map((name) => [`./${name}`, integrity(readFileSync(here(`public/${name}`)))] as const)];
      const words = Object.fromEntries(
        Object.entries({ en, de }).map(([language, catalogue]) => [
          language,
          { title: catalogue['notify.call'], body: catalogue['notify.call.body'] },
        ]),
      );
      const stamp = createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 16);
      const source = readFileSync(here('src/sw.ts'), 'utf8');
      const { code } = await transformWithOxc(source, 'sw.ts', { lang: 'ts' });
      const constantsOf = `const VERSION=${JSON.stringify(stamp)};const FILES=${JSON.stringify(all)};const WORDS=${JSON.stringify(words)};\n`;
      const worker = `${constantsOf}${code.replace(/^export\s*\{\s*\};?\s*$/m, '')}`;
      this.emitFile({ type: 'asset', fileName: 'sw.js', source: worker });

      const plain = [...Object.keys(bundle).map((name) => [name, content(name)] as const), ['sw.js', worker] as const];
      const fromPublic = PUBLIC.filter((name) => !name.endsWith('.png')).map((name) => [name, readFileSync(here(`public/${name}`))] as const);
      for (const [name, text] of [...plain, ...fromPublic]) {
        if (/\.(woff2|png|br|gz)$/.test(name)) continue;
        const bytes = typeof text === 'string' ? Buffer.from(text) : text;
        const brotli = brotliCompressSync(bytes, {
          params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
        });
        if (brotli.length >= bytes.length) continue;
        this.emitFile({ type: 'asset', fileName: `${name}.br`, source: brotli });
        this.emitFile({ type: 'asset', fileName: `${name}.gz`, source: gzipSync(bytes, { level: 9 }) });
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
