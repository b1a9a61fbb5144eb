/** The frame around every place: navigation, how reachable one is, what is said at the edge. */
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { updateWaits, useUpdate } from '../platform/worker.ts';
import { route, write } from '../route.ts';
import { callOpen, calls, current, dismiss, lastCall, missed, presence, profile, requests, ringing, spoken, toasts } from '../store.ts';
import { Avatar, Mark } from '../ui/avatar.tsx';
import { Icon, type IconName } from '../ui/icon.tsx';
import { Note } from '../ui/parts.tsx';

const PLACES = [
  { to: { at: 'home' }, label: 'nav.call', icon: 'phone', covers: ['home', 'code', 'to', 'ask'] },
  { to: { at: 'recents' }, label: 'nav.recents', icon: 'clock', covers: ['recents'] },
  { to: { at: 'people' }, label: 'nav.people', icon: 'people', covers: ['people', 'person', 'requests'] },
  { to: { at: 'settings', section: undefined }, label: 'nav.settings', icon: 'cog', covers: ['settings'] },
] as const satisfies readonly { icon: IconName; [k: string]: unknown }[];

export function Shell({ children }: { children: ComponentChildren }) {
  const here = route.value.at;
  return (
    <div class="shell">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        {t('nav.skip')}
      </a>
      <nav class="nav" aria-label={t('nav.main')}>
        <div class="nav__brand">
          <Mark size={34} />
          <span>{t('app.name')}</span>
        </div>
        <ul class="nav__list">
          {PLACES.map((place) => {
            const count = place.to.at === 'recents' ? missed.value : place.to.at === 'people' ? requests.value.length : 0;
            return (
              <li key={place.to.at}>
                <a
                  class="nav__item"
                  href={write(place.to)}
                  aria-current={(place.covers as readonly string[]).includes(here) ? 'page' : undefined}
                >
                  <span class="nav__icon">
                    <Icon name={place.icon} />
                    {count > 0 && <span class="badge num">{count}</span>}
                  </span>
                  <span>{t(place.label)}</span>
                </a>
              </li>
            );
          })}
        </ul>
        <Me />
      </nav>
      <main class="page" id="main" tabIndex={-1}>
        <Trouble />
        {children}
      </main>
    </div>
  );
}

function Me() {
  const who = profile.value;
  if (who?.identity === undefined) return null;
  return (
    <a class="nav__me" href={write({ at: 'settings', section: 'you' })}>
      <Avatar id={who.identity} name={who.name ?? ''} size={40} />
      <span class="item__text">
        <span class="item__title" dir="auto">
          {who.name ?? t('who.nameless')}
        </span>
        <PresenceLine />
      </span>
    </a>
  );
}

/** How reachable one is, in a dot and a word. */
export function PresenceLine() {
  const now = presence.value;
  const dot = now.state === 'online' ? 'dot dot--on' : now.state === 'connecting' ? 'dot dot--wait' : 'dot dot--off';
  const words =
    now.state === 'offline' ? t(`presence.${now.code}`) : t(`presence.${now.state}`);
  return (
    <span class="item__sub" role="status">
      <span class={dot} aria-hidden="true" />
      <span>{words}</span>
    </span>
  );
}

/** What keeps calls from coming in, in words, above everything else. */
function Trouble() {
  const now = presence.value;
  if (now.state === 'replaced') {
    return (
      <Note kind="warn" title={t('presence.replaced')} live>
        <span>{t('presence.replaced.hint')}</span>
        <button type="button" class="btn" onClick={() => location.reload()}>
          {t('presence.reload')}
        </button>
      </Note>
    );
  }
  if (now.state !== 'offline') return null;
  return (
    <Note kind="warn" title={t(`presence.${now.code}`)} live>
      <span>{t(`presence.${now.code}.hint`)}</span>
    </Note>
  );
}

/** What is said at the edge, to eyes and to screen readers. */
export function Edge() {
  // Where a call fills the screen its buttons are below, and nothing may lie over them.
  const shown = useRef<HTMLDivElement>(null);
  // Above an open dialog too, and above whichever was opened last.
  useLayoutEffect(() => {
    if (toasts.value.length === 0 || !shown.current?.showPopover) return;
    if (shown.current.matches(':popover-open')) shown.current.hidePopover();
    shown.current.showPopover();
  }, [toasts.value]);
  const inCall = current.value ? callOpen.value : ringing.value.length > 0 || lastCall.value !== undefined;
  return (
    <>
      <div class="sr" role="status" aria-live="assertive">
        {spoken.value}
      </div>
      <div ref={shown} popover="manual" class={inCall ? 'toasts toasts--call' : 'toasts'} role="region" aria-live="polite" aria-label={t('app.name')}>
        {updateWaits.value && calls.value.length === 0 && (
          <div class="toast">
            <span>{t('update.ready')}</span>
            <button type="button" class="btn" onClick={useUpdate}>
              {t('update.use')}
            </button>
          </div>
        )}
        {updateWaits.value && current.value !== undefined && (
          <div class="sr">
            {t('update.ready')} {t('update.later')}
          </div>
        )}
        {toasts.value.map((each) => (
          <div class="toast" key={each.id}>
            <span>{each.text}</span>
            {each.action && (
              <button
                type="button"
                class="btn"
                onClick={() => {
                  each.action?.run();
                  dismiss(each.id);
                }}
              >
                {each.action.label}
              </button>
            )}
            <button type="button" class="btn" aria-label={t('do.dismiss')} onClick={() => dismiss(each.id)}>
              <Icon name="close" size={18} />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
