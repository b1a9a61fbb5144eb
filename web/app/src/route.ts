/**
 * Where one is, kept in the fragment of the address: the page works from any path, and what follows the `#` never reaches a
 * server. Only this module reads or writes it.
 */
import { signal } from '@preact/signals';

export type Section = 'you' | 'keys' | 'devices' | 'calls' | 'look' | 'node' | 'about';
const SECTIONS: readonly Section[] = ['you', 'keys', 'devices', 'calls', 'look', 'node', 'about'];

export type Route =
  | { readonly at: 'home' }
  | { readonly at: 'recents' }
  | { readonly at: 'people' }
  | { readonly at: 'requests' }
  | { readonly at: 'code' }
  | { readonly at: 'person'; readonly did: string }
  /** Somebody to call perhaps: a DID, alias or link, as it was given. */
  | { readonly at: 'to'; readonly target: string }
  /** The same, about to be asked for leave to call. */
  | { readonly at: 'ask'; readonly target: string }
  | { readonly at: 'settings'; readonly section: Section | undefined };

/** Reads a fragment. A `dsip:` link in it is somebody to call, which needs a press; what makes no sense is home. */
export function read(fragment: string): Route {
  const text = fragment.replace(/^#/, '');
  // WPH-22: mail programs and messengers escape the colon.
  if (/^dsip%3a/i.test(text)) return { at: 'to', target: decode(text) };
  if (/^dsip:/i.test(text)) return { at: 'to', target: text };
  const [, place = '', ...rest] = text.split('/');
  const argument = decode(rest.join('/'));
  switch (place) {
    case 'recents':
    case 'people':
    case 'requests':
    case 'code':
      return { at: place };
    case 'person':
      return argument ? { at: 'person', did: argument } : { at: 'people' };
    case 'to':
    case 'ask':
      return argument ? { at: place, target: argument } : { at: 'home' };
    case 'settings':
      return { at: 'settings', section: SECTIONS.find((known) => known === argument) };
    default:
      return { at: 'home' };
  }
}

/** The fragment of a place. */
export function write(to: Route): string {
  switch (to.at) {
    case 'home':
      return '#/';
    case 'person':
      return `#/person/${encodeURIComponent(to.did)}`;
    case 'to':
    case 'ask':
      return `#/${to.at}/${encodeURIComponent(to.target)}`;
    case 'settings':
      return to.section === undefined ? '#/settings' : `#/settings/${to.section}`;
    default:
      return `#/${to.at}`;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}

/** Where one is. */
export const route = signal<Route>({ at: 'home' });

/** Goes somewhere; `replace` leaves no way back to where one was. */
export function go(to: Route, how: 'push' | 'replace' = 'push'): void {
  const fragment = write(to);
  if (how === 'replace') history.replaceState(null, '', fragment);
  else if (location.hash !== fragment) history.pushState(null, '', fragment);
  route.value = to;
}

/** Follows the address from now on. */
export function follow(): void {
  const update = () => {
    route.value = read(location.hash);
    // WPH-24: a link is read once, and then stands nowhere any more.
    if (/^#dsip(:|%3a)/i.test(location.hash)) history.replaceState(null, '', write(route.value));
  };
  addEventListener('popstate', update);
  addEventListener('hashchange', update);
  update();
}
