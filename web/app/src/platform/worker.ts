/**
 * The service worker, seen from the page: offline use, notifications, being woken. A new version is shown and waits; it is
 * never put under a page by force, least of all one with a call.
 */
import { signal } from '@preact/signals';

/** A new version waits to be used. */
export const updateWaits = signal(false);

/** What the worker may tell the page. */
export type WorkerSays = { readonly say: 'decline'; readonly call: string } | { readonly say: 'show' };

let registration: ServiceWorkerRegistration | undefined;
/** The person pressed for the new version, in this tab. */
let wanted = false;

const SCRIPT = './sw.js';

/** With Trusted Types only one script address exists that may become a worker. */
function scriptUrl(): string {
  const policy = window.trustedTypes?.createPolicy('dsip', {
    createScriptURL: (url: string) => {
      if (url !== SCRIPT) throw new TypeError('not our service worker');
      return url;
    },
  });
  return (policy?.createScriptURL(SCRIPT) ?? SCRIPT) as string;
}

/** Registers the worker, if the browser has such things, and listens to it. */
export async function register(hear: (says: WorkerSays) => void): Promise<void> {
  if (!('serviceWorker' in navigator) || !import.meta.env.PROD) return;
  // A browser may have the thing and refuse it, as private windows do. The page works without.
  await start(hear).catch((error: unknown) => console.warn('no service worker:', error));
}

async function start(hear: (says: WorkerSays) => void): Promise<void> {
  navigator.serviceWorker.addEventListener('message', (event: MessageEvent<WorkerSays>) => hear(event.data));
  registration = await navigator.serviceWorker.register(scriptUrl(), { type: 'classic', updateViaCache: 'none' });
  const watch = (worker: ServiceWorker | null) => {
    worker?.addEventListener('statechange', () => {
      if (worker.state === 'installed' && navigator.serviceWorker.controller) updateWaits.value = true;
    });
  };
  if (registration.waiting && navigator.serviceWorker.controller) updateWaits.value = true;
  let controlled = navigator.serviceWorker.controller !== null;
  navigator.serviceWorker.addEventListener('controllerchange', () => {
    if (wanted) location.reload();
    // Somebody pressed in another tab: here it is shown. The first worker of all replaces nothing.
    else if (controlled) updateWaits.value = true;
    controlled = true;
  });
  watch(registration.installing);
  registration.addEventListener('updatefound', () => watch(registration?.installing ?? null));
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void registration?.update().catch(() => undefined);
  });
}

/** Uses the version that waits: the person pressed for it. */
export function useUpdate(): void {
  wanted = true;
  if (registration?.waiting) registration.waiting.postMessage({ say: 'take-over' });
  else location.reload();
}

/** Whether notifications can be shown, are refused, or could be asked for. */
export function notifying(): NotificationPermission | 'unsupported' {
  return 'Notification' in window ? Notification.permission : 'unsupported';
}

/** Asks for leave to notify; only ever after a press. */
export async function askToNotify(): Promise<boolean> {
  return 'Notification' in window && (await Notification.requestPermission()) === 'granted';
}

interface Notice {
  readonly title: string;
  readonly body?: string;
  /** Two with the same tag are one. */
  readonly tag: string;
  /** Stays until it is dealt with, and may be declined right there. */
  readonly call?: { readonly id: string; readonly decline: string };
}

/** Shows a notification, unless the person looks at the page anyhow. */
export async function notify(notice: Notice): Promise<void> {
  if (notifying() !== 'granted' || (document.visibilityState === 'visible' && document.hasFocus())) return;
  await registration?.showNotification(notice.title, {
    body: notice.body ?? '',
    tag: notice.tag,
    icon: './icon-192.png',
    badge: './badge.png',
    requireInteraction: notice.call !== undefined,
    data: { call: notice.call?.id },
    ...(notice.call ? { actions: [{ action: 'decline', title: notice.call.decline }] } : {}),
  } as NotificationOptions);
}

/** Takes a notification back. */
export async function unnotify(tag: string): Promise<void> {
  for (const shown of (await registration?.getNotifications({ tag })) ?? []) shown.close();
}

/** Lets the node wake this browser: subscribes under the node's key. */
export async function subscribe(serverKey: Uint8Array<ArrayBuffer>): Promise<PushSubscriptionJSON | undefined> {
  const manager = registration?.pushManager;
  if (manager === undefined) return undefined;
  const options = { userVisibleOnly: true, applicationServerKey: serverKey };
  return (await manager.subscribe(options)).toJSON();
}

/** Lets it no longer. */
export async function unsubscribe(): Promise<void> {
  await (await registration?.pushManager.getSubscription())?.unsubscribe();
}

/** Whether it may wake this browser now. */
export async function subscribed(): Promise<boolean> {
  return (await registration?.pushManager?.getSubscription()) != null;
}
