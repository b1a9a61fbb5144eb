/** What the owner prefers about this page, in this browser. Not about the protocol: that is the client's to keep. */
import { effect, signal } from '@preact/signals';
import type { Locale } from './i18n/index.ts';

export type Theme = 'system' | 'light' | 'dark';

export interface Prefs {
  readonly theme: Theme;
  readonly language: Locale | 'system';
  readonly ringtone: boolean;
  readonly notifications: boolean;
  readonly relayOnly: boolean;
  readonly publish: boolean;
  /** The node's address, or empty for the one that served this page. */
  readonly node: string;
  /** What the other types is laid over the picture. */
  readonly captions: boolean;
  /** Somebody lives here: the page need not wait for the database to know which face to show first. */
  readonly settled: boolean;
  /** When the list of calls was last looked at, in Unix milliseconds: what was missed before is seen. */
  readonly sawHistory: number;
}

const KEY = 'dsip.prefs';
export const DEFAULTS: Prefs = {
  theme: 'system',
  language: 'system',
  ringtone: true,
  notifications: true,
  relayOnly: false,
  publish: false,
  node: '',
  captions: true,
  settled: false,
  sawHistory: 0,
};

/** Reads what was stored; whatever does not fit is as if it had never been stored. */
export function parse(text: string | null): Prefs {
  let stored: unknown;
  try {
    stored = JSON.parse(text ?? '{}');
  } catch {
    return DEFAULTS;
  }
  if (typeof stored !== 'object' || stored === null) return DEFAULTS;
  const from = stored as Record<string, unknown>;
  const flag = (name: keyof Prefs) => (typeof from[name] === 'boolean' ? from[name] : DEFAULTS[name]) as boolean;
  return {
    theme: from.theme === 'light' || from.theme === 'dark' ? from.theme : 'system',
    language: from.language === 'en' || from.language === 'de' ? from.language : 'system',
    ringtone: flag('ringtone'),
    notifications: flag('notifications'),
    relayOnly: flag('relayOnly'),
    publish: flag('publish'),
    node: typeof from.node === 'string' ? from.node : '',
    captions: flag('captions'),
    settled: flag('settled'),
    sawHistory: typeof from.sawHistory === 'number' ? from.sawHistory : 0,
  };
}

function stored(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // a browser that refuses storage is told of where it matters
  }
}

export const prefs = signal<Prefs>(typeof localStorage === 'undefined' ? DEFAULTS : parse(stored()));

/** Changes some of them. */
export function prefer(change: Partial<Prefs>): void {
  prefs.value = { ...prefs.value, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs.value));
  } catch {
    // as above
  }
}

/** Keeps the theme, and other tabs, in step. */
export function wear(): void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const system = signal(dark.matches);
  dark.addEventListener('change', () => {
    system.value = dark.matches;
  });
  addEventListener('storage', (event) => {
    if (event.key === KEY) prefs.value = parse(event.newValue);
  });
  effect(() => {
    const { theme } = prefs.value;
    const shown = theme === 'system' ? (system.value ? 'dark' : 'light') : theme;
    document.documentElement.dataset.theme = shown;
    for (const meta of document.querySelectorAll<HTMLMetaElement>('meta[name=theme-color]')) {
      meta.content = shown === 'dark' ? '#0a161b' : '#edf2f1';
    }
  });
}
