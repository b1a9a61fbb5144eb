/**
 * The call, filling the screen: it rings, it is placed, one talks, it is over. Loaded beforehand with the phone, since a call
 * may come at any moment.
 */
import type { Call, MediaChoice } from '@dsip/client';
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { stayAwake } from '../platform/awake.ts';
import { go } from '../route.ts';
import {
  accept,
  attempt,
  call as place,
  callOpen,
  contactOf,
  current,
  lastCall,
  microphoneTrouble,
  ringing,
  unreachable,
} from '../store.ts';
import { Avatar, rings } from '../ui/avatar.tsx';
import { Icon, type IconName } from '../ui/icon.tsx';
import { Lazy } from '../ui/lazy.tsx';
import { BasisChip, Sheet } from '../ui/parts.tsx';
import { Name } from '../ui/person.tsx';
import { clock } from '../when.ts';
import { answeredByWords, errorWords, inSentence, named, partyOf, qualityWords, reasonWords, stateWords } from '../words.ts';
import { Picture } from './picture.tsx';
import { TextPanel } from './text.tsx';

/** Whatever call there is to be shown. */
export function Calls() {
  const rings = ringing.value[0];
  const now = current.value;
  const over = lastCall.value;
  return (
    <>
      {now && <InCall key={now.id} call={now} away={!callOpen.value} />}
      {now && !callOpen.value && <Bar call={now} />}
      {rings && (now === undefined ? <Rings key={rings.id} call={rings} /> : <RingsMeanwhile key={rings.id} call={rings} now={now} />)}
      {!now && !rings && over && <Over key={over.id} call={over} />}
      <MicrophoneTrouble />
    </>
  );
}

function useParty(call: Call) {
  const party = partyOf(call, contactOf(call.identity));
  const who = named(party);
  return { party, who, sentence: inSentence(who) };
}

/** The dark room in which every call takes place, lit in the colours of the other. */
function Room(props: { call: Call; label: string; class: string; away?: boolean; children: ComponentChildren }) {
  const ref = useRef<HTMLDivElement>(null);
  const { hue, hue2 } = rings(props.call.identity);
  // What is under the call is out of reach while it fills the screen; where one was comes back afterwards.
  useLayoutEffect(() => {
    if (props.away) return;
    const before = document.activeElement;
    const below = document.querySelector<HTMLElement>('.shell');
    below?.setAttribute('inert', '');
    ref.current?.focus();
    return () => {
      below?.removeAttribute('inert');
      if (before instanceof HTMLElement) before.focus();
    };
  }, [props.away]);
  return (
    <div
      ref={ref}
      class={`room ${props.class}${props.away ? ' room--away' : ''}`}
      inert={props.away}
      role="dialog"
      aria-modal="true"
      aria-label={props.label}
      tabIndex={-1}
      style={{ '--hue': hue, '--hue2': hue2 }}
    >
      {props.children}
    </div>
  );
}

/** The face, with rings going out from it while something rings. */
function Face({ call, size, live }: { call: Call; size: number; live: boolean }) {
  const { who } = useParty(call);
  return (
    <div class={live ? 'face face--live' : 'face'} style={{ inlineSize: `${size}px`, blockSize: `${size}px` }}>
      <span class="face__ring" />
      <span class="face__ring" />
      <span class="face__ring" />
      <Avatar id={call.identity} name={who.name} size={size} />
    </div>
  );
}

function Who({ call, children }: { call: Call; children?: ComponentChildren }) {
  const { party, who } = useParty(call);
  return (
    <div class="who">
      <h2 class="who__name" dir="auto">
        <Name who={who} />
      </h2>
      {children}
      <BasisChip basis={party.basis} known={party.known} />
      {who.claimed && <p class="who__claim">{t('who.claims')}</p>}
    </div>
  );
}

function Round(props: {
  icon: IconName;
  label: string;
  kind?: 'answer' | 'end' | 'on' | 'soft';
  onClick: () => void;
  pressed?: boolean | undefined;
  disabled?: boolean;
  describedBy?: string;
  big?: boolean;
}) {
  return (
    <button
      type="button"
      class={`round round--${props.kind ?? 'soft'}${props.big ? ' round--big' : ''}`}
      aria-pressed={props.pressed}
      aria-disabled={props.disabled || undefined}
      aria-describedby={props.describedBy}
      onClick={() => !props.disabled && props.onClick()}
    >
      <span class="round__disc">
        <Icon name={props.icon} size={props.big ? 30 : 26} />
      </span>
      <span class="round__label">{props.label}</span>
    </button>
  );
}

// ---------------------------------------------------------------------------------------------------------------- it rings --

function Rings({ call }: { call: Call }) {
  const { sentence } = useParty(call);
  const title = t(call.offersVideo ? 'ring.title.video' : 'ring.title');
  return (
    <Room call={call} class="room--ring" label={t(call.offersVideo ? 'ring.incoming.video' : 'ring.incoming', { name: sentence })}>
      <p class="room__kind">{title}</p>
      <div class="room__middle">
        <Face call={call} size={148} live />
        <Who call={call} />
      </div>
      <div class="room__actions">
        <Round big kind="end" icon="hangup" label={t('ring.decline')} onClick={() => void attempt(call.decline())} />
        <Round icon="ear" big label={t('ring.screen')} describedBy="screen-hint" onClick={() => void attempt(call.screen())} />
        {call.offersVideo && (
          <Round big kind="answer" icon="video" label={t('ring.answer.video')} onClick={() => void accept(call, { audio: true, video: true })} />
        )}
        <Round
          big
          kind="answer"
          icon="phone"
          label={call.offersVideo ? t('ring.answer.audio') : t('ring.answer')}
          onClick={() => void accept(call, { audio: true, video: false })}
        />
      </div>
      <p class="room__hint" id="screen-hint">
        {t('ring.screen')}: {t('ring.screen.hint')}
      </p>
    </Room>
  );
}

/** Somebody calls during a call: shown at the top, not taking over. */
function RingsMeanwhile({ call, now }: { call: Call; now: Call }) {
  const { party, who, sentence } = useParty(call);
  return (
    <div class="meanwhile" role="alertdialog" aria-label={t('ring.incoming', { name: sentence })}>
      <Avatar id={call.identity} name={who.name} size={44} />
      <div class="meanwhile__text">
        <p>{t('ring.incoming', { name: sentence })}</p>
        <BasisChip basis={party.basis} known={party.known} />
      </div>
      <button type="button" class="btn btn--danger btn--small" onClick={() => void attempt(call.decline())}>
        {t('ring.decline')}
      </button>
      <button
        type="button"
        class="btn btn--answer btn--small"
        onClick={async () => {
          await attempt(now.hangUp());
          await accept(call, { audio: true, video: false });
        }}
      >
        {t('ring.endAndAnswer')}
      </button>
    </div>
  );
}

// ---------------------------------------------------------------------------------------------------------------- one talks --

type Panel = 'none' | 'text' | 'details' | 'devices' | 'more';

/** The call. Put away, it is out of sight and out of reach, but goes on playing. */
function InCall({ call, away }: { call: Call; away: boolean }) {
  const { party, who, sentence } = useParty(call);
  const [panel, setPanel] = useState<Panel>('none');
  const talking = call.state === 'talking' || call.state === 'interrupted' || call.state === 'connecting';
  const pictures = talking && (shows(call.media.video) || shows(call.media.screen));
  useEffect(() => (call.isHere ? stayAwake() : undefined), [call.isHere]);
  const toggle = (to: Panel) => setPanel(panel === to ? 'none' : to);
  const by = answeredByWords(call.answeredBy);
  return (
    <Room
      call={call}
      away={away}
      class={`room--call${pictures ? ' room--pictures' : ''}${panel === 'text' ? ' room--side' : ''}`}
      label={t('call.with', { name: sentence })}
    >
      <header class="top">
        <button type="button" class="top__button" aria-label={t('call.minimise')} onClick={() => (callOpen.value = false)}>
          <Icon name="down" />
        </button>
        <div class="top__who">
          {pictures && (
            <p class="top__name" dir="auto">
              <Name who={who} />
            </p>
          )}
          <State call={call} />
        </div>
        <button type="button" class="top__button top__lock" onClick={() => setPanel('details')}>
          <Icon name="lock" size={20} />
          <span>{talking ? t('call.encrypted') : t('call.details')}</span>
        </button>
      </header>

      <div class="stage">
        <Picture call={call} name={sentence} shown={pictures} />
        {!pictures && (
          <div class="room__middle">
            <Face call={call} size={148} live={!talking} />
            <Who call={call}>{by && <p class="who__by">{by}</p>}</Who>
          </div>
        )}
        <Notices call={call} name={sentence} />
      </div>

      {panel === 'text' && call.text && <TextPanel text={call.text} name={sentence} onClose={() => setPanel('none')} />}

      <Controls call={call} pictures={pictures} panel={panel} toggle={toggle} />

      {panel === 'more' && <More call={call} onClose={() => setPanel('none')} go={setPanel} />}
      {panel === 'details' && (
        <Lazy of={() => import('./details.tsx')} pick="Details" props={{ call, party, onClose: () => setPanel('none') }} />
      )}
      {panel === 'devices' && (
        <Lazy of={() => import('./devices.tsx')} pick="Devices" props={{ call, onClose: () => setPanel('none') }} />
      )}
    </Room>
  );
}

function shows(direction: string): boolean {
  return direction === 'sendrecv' || direction === 'sendonly' || direction === 'recvonly';
}

/** Where the call stands: a state, or how long it lasts and how good it is. */
function State({ call }: { call: Call }) {
  const quality = call.media.quality;
  if (call.state !== 'talking' || !call.isHere) {
    return (
      <p class="top__state" role="status">
        {stateWords(call.state)}
      </p>
    );
  }
  const level = quality?.level ?? 'good';
  const fine = level === 'good' || level === 'fair';
  return (
    <>
      <p class="top__state">
        <Elapsed since={call.answeredAt ?? call.startedAt} />
        {quality && (
          <span class={`quality quality--${level}`}>
            <Bars level={level} />
          </span>
        )}
      </p>
      {quality && (
        <p class={fine ? 'sr' : `top__why quality--${level}`} role="status">
          {qualityWords(quality)}
        </p>
      )}
    </>
  );
}

function Bars({ level }: { level: string }) {
  const lit = level === 'good' ? 3 : level === 'fair' ? 2 : level === 'poor' ? 1 : 0;
  return (
    <svg width="18" height="14" viewBox="0 0 18 14" aria-hidden="true">
      {[0, 1, 2].map((i) => (
        <rect key={i} x={i * 6.5} y={9 - i * 4.5} width="4.5" height={5 + i * 4.5} rx="1.5" fill="currentColor" fill-opacity={i < lit ? 1 : 0.3} />
      ))}
    </svg>
  );
}

function Elapsed({ since }: { since: number }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <span class="num" role="timer" aria-live="off">
      {clock(now - since)}
    </span>
  );
}

/** What has to be known, or decided, during the call. */
function Notices({ call, name }: { call: Call; name: string }) {
  const update = call.pendingUpdate;
  return (
    <div class="notices">
      {!call.isHere && call.state !== 'ended' && call.answeredAt !== undefined && (
        <Notice icon="laptop" title={t('call.notHere')} hint={t('call.notHere.hint')} />
      )}
      {call.screening === 'we-are-screened' && (
        <Notice icon="ear" title={t('call.screening.them')} hint={t('call.screening.them.hint')} />
      )}
      {call.screening === 'we-screen' && (
        <Notice icon="ear" title={t('call.screening.we')} hint={t('call.screening.we.hint')}>
          <button type="button" class="btn btn--answer btn--small" onClick={() => void attempt(call.takeOver({ audio: true }))}>
            {t('call.screening.takeOver')}
          </button>
        </Notice>
      )}
      {update && (
        <Notice icon="video" title={t(update.wantsVideo ? 'call.wantsVideo' : 'call.wantsChange', { name })}>
          {update.wantsVideo && (
            <button type="button" class="btn btn--answer btn--small" onClick={() => void attempt(update.accept({ video: true }))}>
              {t('call.allow.withVideo')}
            </button>
          )}
          <button type="button" class="btn btn--light btn--small" onClick={() => void attempt(update.accept())}>
            {t('call.allow')}
          </button>
          <button type="button" class="btn btn--light btn--small" onClick={() => void attempt(update.reject())}>
            {t('call.refuse')}
          </button>
        </Notice>
      )}
      {call.held && (
        <Notice icon="pause" title={t('call.held')} hint={t('call.held.hint')}>
          <button type="button" class="btn btn--light btn--small" onClick={() => void attempt(call.hold(false))}>
            {t('call.resume')}
          </button>
        </Notice>
      )}
      {call.heldByPeer && <Notice icon="pause" title={t('call.heldByPeer', { name })} />}
      {call.muted && call.state === 'talking' && !call.held && <Notice icon="micOff" title={t('call.muted')} />}
      {shows(call.media.screen) && call.media.localScreen.getTracks().length > 0 && (
        <Notice icon="screen" title={t('call.sharing')}>
          <button type="button" class="btn btn--light btn--small" onClick={() => void attempt(call.shareScreen(false))}>
            {t('call.screen.off')}
          </button>
        </Notice>
      )}
    </div>
  );
}

function Notice(props: { icon: IconName; title: string; hint?: string; children?: ComponentChildren }) {
  return (
    <div class="notice" role="status">
      <Icon name={props.icon} size={22} />
      <div class="notice__text">
        <strong>{props.title}</strong>
        {props.hint && <span>{props.hint}</span>}
      </div>
      {props.children && <div class="row">{props.children}</div>}
    </div>
  );
}

/** Whether our camera sends. */
function cameraOn(call: Call): boolean {
  return call.media.local.getVideoTracks().some((track) => track.enabled && track.readyState === 'live');
}

function Controls({ call, pictures, panel, toggle }: { call: Call; pictures: boolean; panel: Panel; toggle: (to: Panel) => void }) {
  const talking = call.isHere && (call.state === 'talking' || call.state === 'interrupted');
  const camera = cameraOn(call);
  return (
    <div class="controls" role="group" aria-label={t('call.controls')}>
      {call.isHere && (
        <>
          <Round
            icon={call.muted ? 'micOff' : 'mic'}
            kind={call.muted ? 'on' : 'soft'}
            pressed={call.muted}
            label={t(call.muted ? 'call.unmute' : 'call.mute')}
            onClick={() => call.setMuted(!call.muted)}
          />
          <Round
            icon={camera ? 'video' : 'videoOff'}
            kind={camera || !pictures ? 'soft' : 'on'}
            label={t(camera ? 'call.camera.off' : 'call.camera.on')}
            disabled={!talking}
            onClick={() => void attempt(call.setCamera(!camera))}
          />
          <Round
            icon="more"
            label={t('do.more')}
            kind={panel === 'more' ? 'on' : 'soft'}
            onClick={() => toggle('more')}
          />
          {call.text && (
            <span class="controls__wide">
              <Round icon="text" label={t('call.text')} pressed={panel === 'text'} kind={panel === 'text' ? 'on' : 'soft'} onClick={() => toggle('text')} />
            </span>
          )}
        </>
      )}
      <Round icon="hangup" kind="end" label={t('call.hangUp')} onClick={() => void attempt(call.hangUp())} />
    </div>
  );
}

/** The rest of what can be done. */
function More({ call, onClose, go: to }: { call: Call; onClose: () => void; go: (panel: Panel) => void }) {
  const talking = call.state === 'talking' || call.state === 'interrupted';
  const sharing = call.media.localScreen.getTracks().length > 0;
  const act = (work: Promise<unknown>) => {
    onClose();
    void attempt(work);
  };
  const canShare = 'getDisplayMedia' in navigator.mediaDevices;
  return (
    <Sheet title={t('do.more')} onClose={onClose}>
      <div class="tiles">
        <Tile icon={call.held ? 'play' : 'pause'} label={t(call.held ? 'call.resume' : 'call.hold')} off={!talking} onClick={() => act(call.hold(!call.held))} />
        {canShare && (
          <Tile
            icon="screen"
            label={t(sharing ? 'call.screen.off' : 'call.screen.on')}
            off={!talking}
            onClick={() => act(call.shareScreen(!sharing))}
          />
        )}
        <Tile icon="text" label={t('call.text')} off={call.text === undefined} hint={call.text ? undefined : t('text.unavailable')} onClick={() => to('text')} />
        <Tile icon="sliders" label={t('call.devices')} onClick={() => to('devices')} />
        {document.pictureInPictureEnabled && (
          <Tile icon="pip" label={t('call.pip')} off={!shows(call.media.video)} onClick={() => act(smallWindow())} />
        )}
        <Tile icon="shield" label={t('call.details')} onClick={() => to('details')} />
        <Tile icon="keypad" label={t('call.keypad')} off hint={t('call.keypad.hint')} onClick={() => undefined} />
      </div>
    </Sheet>
  );
}

function Tile(props: { icon: IconName; label: string; hint?: string | undefined; off?: boolean; onClick: () => void }) {
  return (
    <button type="button" class="tile" aria-disabled={props.off || undefined} onClick={() => !props.off && props.onClick()}>
      <Icon name={props.icon} size={26} />
      <span>{props.label}</span>
      {props.hint && <span class="tile__hint">{props.hint}</span>}
    </button>
  );
}

/** Takes the large picture into a window of its own, above all others. */
async function smallWindow(): Promise<void> {
  if (document.pictureInPictureElement) await document.exitPictureInPicture();
  else await document.querySelector<HTMLVideoElement>('video.picture__main')?.requestPictureInPicture();
}

/** The call as a bar, while one looks at something else. */
function Bar({ call }: { call: Call }) {
  const { who } = useParty(call);
  return (
    <div class="callbar" role="region" aria-label={t('call.with', { name: who.name })}>
      <button type="button" class="callbar__open" onClick={() => (callOpen.value = true)}>
        <Icon name="phone" size={20} />
        <span class="callbar__name" dir="auto">
          <Name who={who} />
        </span>
        {call.state === 'talking' ? <Elapsed since={call.answeredAt ?? call.startedAt} /> : <span>{stateWords(call.state)}</span>}
        <span class="callbar__back">{t('call.return')}</span>
      </button>
      <button type="button" class="callbar__end" aria-label={t('call.hangUp')} onClick={() => void attempt(call.hangUp())}>
        <Icon name="hangup" />
      </button>
    </div>
  );
}

// ---------------------------------------------------------------------------------------------------------------- it is over --

function Over({ call }: { call: Call }) {
  const { sentence } = useParty(call);
  const lasted = call.answeredAt !== undefined && call.endedAt !== undefined ? call.endedAt - call.answeredAt : undefined;
  const plain = call.reason === 'user.hangup' || call.reason === 'user.cancelled';
  const reason = unreachable.value.has(call.id)
    ? t('reason.unreachable')
    : reasonWords(call.reason ?? 'session.failed', sentence);
  const askFirst = call.reason === 'policy.first-contact-required';
  const close = () => {
    lastCall.value = undefined;
  };
  useEffect(() => {
    // An ordinary end is said and put away; a failure stays until it is read.
    if (!plain) return;
    const timer = setTimeout(close, 2_500);
    return () => clearTimeout(timer);
  }, [plain]);
  const again = (media: MediaChoice) => {
    close();
    void place(call.identity, media);
  };
  return (
    <Room call={call} class="room--over" label={t('call.over')}>
      <p class="room__kind">{t('call.over')}</p>
      <div class="room__middle">
        <Face call={call} size={112} live={false} />
        <Who call={call} />
        <p class="room__reason" role="status">
          {reason}
          {lasted !== undefined && <span class="num"> {t('call.lasted', { duration: clock(lasted) })}</span>}
        </p>
      </div>
      <div class="room__actions">
        <Round big icon="close" label={t('do.close')} onClick={close} />
        {askFirst ? (
          <Round
            big
            kind="answer"
            icon="hand"
            label={t('to.ask')}
            onClick={() => {
              close();
              go({ at: 'ask', target: call.identity });
            }}
          />
        ) : (
          !plain && <Round big kind="answer" icon="phone" label={t('call.again')} onClick={() => again({ audio: true })} />
        )}
      </div>
    </Room>
  );
}

/** The one failure that a call hangs on, with both ways out. */
function MicrophoneTrouble() {
  const trouble = microphoneTrouble.value;
  if (trouble === undefined) return null;
  const close = () => {
    microphoneTrouble.value = undefined;
  };
  return (
    <Sheet title={t('error.title')} onClose={close}>
      <div class="stack">
        <div class="row row--top">
          <span class="hint__icon hint__icon--danger">
            <Icon name="micOff" />
          </span>
          <p class="item__text">{errorWords(trouble.code)}</p>
        </div>
        <div class="row row--fill">
          <button type="button" class="btn btn--line" onClick={close}>
            {t('do.close')}
          </button>
          <button
            type="button"
            class="btn btn--primary"
            onClick={() => {
              close();
              trouble.listen();
            }}
          >
            {t('error.listenOnly')}
          </button>
        </div>
      </div>
    </Sheet>
  );
}
