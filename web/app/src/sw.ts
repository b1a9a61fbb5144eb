/// <reference lib="webworker" />
/**
 * The service worker: keeps one whole version of the page, each file checked against its hash, and shows what wakes it.
 *
 * A version is put into a cache of its own while the old one goes on serving; it takes over when no page of the old one is
 * left, or when a person pressed for it. So files of two versions never meet in one page.
 */
export {};
declare const self: ServiceWorkerGlobalScope;
/** Filled in by the build: the version, and every file with its hash for Subresource Integrity. */
declare const VERSION: string;
declare const FILES: readonly (readonly [path: string, integrity: string])[];
/** Words for a push, which comes when no page is open that could translate; by language. */
declare const WORDS: Readonly<Record<string, { readonly title: string; readonly body: string }>>;

const CACHE = `dsip-${VERSION}`;

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches.open(CACHE).then((cache) =>
      Promise.all(
        FILES.map(async ([path, integrity]) => {
          const response = await fetch(new Request(path, { integrity, cache: 'no-cache' }));
          if (!response.ok) throw new Error(`${path}: ${response.status}`);
          await cache.put(path, response);
        }),
      ),
    ),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith('dsip-') && name !== CACHE) await caches.delete(name);
      }
      await self.clients.claim();
    })(),
  );
});

self.addEventListener('message', (event) => {
  if (event.data?.say === 'take-over') void self.skipWaiting();
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const base = new URL(self.registration.scope);
  if (request.method !== 'GET' || url.origin !== base.origin || !url.pathname.startsWith(base.pathname)) return;
  const path = `./${url.pathname.slice(base.pathname.length)}`;
  const wanted = request.mode === 'navigate' && (path === './' || path === './index.html') ? './index.html' : path;
  if (!FILES.some(([known]) => known === wanted)) return;
  event.respondWith(
    (async () => (await (await caches.open(CACHE)).match(wanted)) ?? fetch(request))(),
  );
});

self.addEventListener('push', (event) => {
  event.waitUntil(
    (async () => {
      const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
      // An open page has its own link and rings by itself, but browsers want every push to be seen.
      if (pages.some((page) => page.visibilityState === 'visible')) return;
      const language = self.navigator.language.split('-')[0] ?? 'en';
      const words = WORDS[language] ?? WORDS.en;
      // The push carries nothing, on purpose: who calls is learned from the signed invite alone.
      await self.registration.showNotification(words?.title ?? 'DSIP', {
        body: words?.body ?? '',
        tag: 'wake',
        icon: './icon-192.png',
        badge: './badge.png',
        requireInteraction: true,
      });
    })(),
  );
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const call: unknown = event.notification.data?.call;
  event.waitUntil(
    (async () => {
      const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
      const page = pages.find((each) => each.focused) ?? pages[0];
      if (event.action === 'decline' && page && typeof call === 'string') {
        page.postMessage({ say: 'decline', call });
        return;
      }
      // Opening is not answering: that takes a press on the page, which shows who it is.
      if (page) {
        await page.focus();
        page.postMessage({ say: 'show' });
      } else {
        await self.clients.openWindow(self.registration.scope);
      }
    })(),
  );
});
