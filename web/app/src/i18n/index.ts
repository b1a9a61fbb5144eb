/**
 * Words. One catalogue at a time, as a signal: whatever shows words is drawn again when the language changes.
 *
 * What comes from peers is put in with {@link isolate}: a name written from right to left, or with control characters, must not
 * turn the sentence around it.
 */
import { signal } from '@preact/signals';
import { en, type Key } from './en.ts';

export type { Key } from './en.ts';
export type Catalogue = Readonly<Record<Key, string>>;
export type Locale = 'en' | 'de' | 'qps-plocm';

/** Languages a person may choose, by the name they give themselves. */
export const LANGUAGES: readonly (readonly [Locale, string])[] = [
  ['en', 'English'],
  ['de', 'Deutsch'],
];

const catalogue = signal<Catalogue>(en);
/** The language in use. */
export const locale = signal<Locale>('en');

/** A key in two forms, chosen by number. */
type Counted = { [K in Key]: K extends `${infer Base}.one` ? (`${Base}.other` extends Key ? Base : never) : never }[Key];

type Values = Readonly<Record<string, string | number>>;

/** The words for a key. */
export function t(key: Key, values?: Values): string {
  return fill(catalogue.value[key], values);
}

/** The words for a key, in the form that fits the number, which is `{n}` in them. */
export function tn(key: Counted, n: number): string {
  const form = new Intl.PluralRules(tag(locale.value)).select(n) === 'one' ? 'one' : 'other';
  return fill(catalogue.value[`${key}.${form}` as Key], { n });
}

/** Whether the catalogue has this key: for tokens that others may invent. */
export function knows(key: string): key is Key {
  return Object.hasOwn(en, key);
}

/** Fills in `{x}`; what is not given stays as it is. */
export function fill(text: string, values: Values | undefined): string {
  if (values === undefined) return text;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : String(value);
  });
}

/** Text without what turns the text around it, or is not to be seen at all. */
export function plain(text: string): string {
  return text.replace(/[\u202a-\u202e\u2066-\u2069\u0000-\u001f\u007f]/g, '');
}

/** Text of a stranger inside a sentence of ours: first-strong isolate, and nothing in it that could end the isolate. */
export function isolate(text: string): string {
  return `\u2068${plain(text)}\u2069`;
}

/** Which language a browser's list of wishes comes to. */
export function choose(wishes: readonly string[]): Locale {
  for (const wish of wishes) {
    const language = wish.toLowerCase().split('-')[0];
    const found = LANGUAGES.find(([known]) => known === language);
    if (found) return found[0];
  }
  return 'en';
}

/** Changes the language of the page. */
export async function speak(to: Locale): Promise<void> {
  catalogue.value = await load(to);
  locale.value = to;
  const root = document.documentElement;
  root.lang = to === 'qps-plocm' ? 'en' : to;
  root.dir = to === 'qps-plocm' ? 'rtl' : 'ltr';
}

/** The tag that `Intl` understands: the language with the region the browser has for it, which decides about clocks and dates. */
export function tag(of: Locale): string {
  const language = of === 'qps-plocm' ? 'en' : of;
  return navigator.languages.find((wish) => wish.toLowerCase().startsWith(`${language}-`)) ?? language;
}

async function load(which: Locale): Promise<Catalogue> {
  switch (which) {
    case 'en':
      return en;
    case 'de':
      return (await import('./de.ts')).de;
    case 'qps-plocm':
      return (await import('./mirrored.ts')).mirrored;
  }
}
