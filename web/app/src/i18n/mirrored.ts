/**
 * A language nobody speaks: English with accents, a third longer, from right to left. It shows what was not translated, what
 * does not fit, and what points the wrong way. Chosen by `?lang=qps-plocm`.
 */
import { en, type Key } from './en.ts';
import type { Catalogue } from './index.ts';

const ACCENTS: Readonly<Record<string, string>> = { a: 'å', e: 'é', i: 'î', o: 'ø', u: 'û', A: 'Å', E: 'É', I: 'Î', O: 'Ø', U: 'Û' };

function mirror(text: string): string {
  const words = text.replace(/\{\w+\}|[aeiouAEIOU]/g, (part) => ACCENTS[part] ?? part);
  return `\u200f[${words}${'·'.repeat(Math.ceil(text.length / 3))}]\u200f`;
}

export const mirrored = Object.fromEntries(
  Object.entries(en).map(([key, text]) => [key, mirror(text)]),
) as Record<Key, string> satisfies Catalogue;
