/** Settings: a list, and a page for each. Fetched when first opened. */
import { useEffect, useState } from 'preact/hooks';
import { LANGUAGES, type Locale, t } from '../../i18n/index.ts';
import * as ringtone from '../../platform/ringtone.ts';
import * as worker from '../../platform/worker.ts';
import { prefer, prefs } from '../../prefs.ts';
import { type Section, write } from '../../route.ts';
import { attempt, calls, openHome, policy, presence, profile, ready, restart, running, toast } from '../../store.ts';
import { Avatar } from '../../ui/avatar.tsx';
import { Icon, type IconName } from '../../ui/icon.tsx';
import { CopyButton, Field, Heading, Note, Segmented, Switch } from '../../ui/parts.tsx';
import { DeviceChoice } from '../devices.tsx';
import { PresenceLine } from '../shell.tsx';
import { LinkedDevices } from './devices.tsx';
import { Keys } from './keys.tsx';

const SECTIONS: readonly { readonly at: Exclude<Section, 'you'>; readonly icon: IconName }[] = [
  { at: 'keys', icon: 'key' },
  { at: 'devices', icon: 'laptop' },
  { at: 'calls', icon: 'bell' },
  { at: 'look', icon: 'palette' },
  { at: 'node', icon: 'node' },
  { at: 'about', icon: 'info' },
];

export function Settings({ section }: { section: Section | undefined }) {
  if (section === undefined) return <Menu />;
  return (
    <div class="narrow stack stack--l" key={section}>
      <header class="bar">
        <a class="btn btn--icon" href={write({ at: 'settings', section: undefined })} aria-label={t('nav.back')}>
          <Icon name="back" class="flip" />
        </a>
        <Heading>{t(`settings.${section}`)}</Heading>
      </header>
      <Page section={section} />
    </div>
  );
}

function Page({ section }: { section: Section }) {
  switch (section) {
    case 'you':
      return <You />;
    case 'keys':
      return <Keys />;
    case 'devices':
      return <LinkedDevices />;
    case 'calls':
      return <CallSettings />;
    case 'look':
      return <Look />;
    case 'node':
      return <NodeSettings />;
    case 'about':
      return <About />;
  }
}

function Menu() {
  const who = profile.value;
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <Heading>{t('settings.title')}</Heading>
      </header>
      {who?.identity && (
        <a class="card hint hint--me" href={write({ at: 'settings', section: 'you' })}>
          <Avatar id={who.identity} name={who.name ?? ''} size={56} />
          <span class="item__text">
            <span class="item__title" dir="auto">
              {who.name ?? t('who.nameless')}
            </span>
            <PresenceLine />
          </span>
          <Icon name="chevron" class="item__chevron flip" size={20} />
        </a>
      )}
      <ul class="list">
        {SECTIONS.map(({ at, icon }) => (
          <li key={at}>
            <a class="item" href={write({ at: 'settings', section: at })}>
              <span class="hint__icon">
                <Icon name={icon} />
              </span>
              <span class="item__text">
                <span class="item__title">{t(`settings.${at}`)}</span>
                {at !== 'about' && (
                  <span class="item__sub">
                    <span>{t(`settings.${at}.hint`)}</span>
                  </span>
                )}
              </span>
              <Icon name="chevron" class="item__chevron flip" size={20} />
            </a>
          </li>
        ))}
      </ul>
    </div>
  );
}

function You() {
  const who = profile.value;
  const [name, setName] = useState(who?.name ?? '');
  const save = async (event: Event) => {
    event.preventDefault();
    if (name.trim() && (await attempt(openHome().then((home) => home.rename(name.trim()))))) toast(t('settings.name.saved'));
  };
  return (
    <>
      <form class="card stack stack--l" onSubmit={save}>
        <Field
          label={t('settings.name')}
          hint={t('welcome.name.hint')}
          value={name}
          maxLength={64}
          autocomplete="name"
          error={name.trim() === '' ? t('welcome.name.missing') : undefined}
          onInput={setName}
        />
        <button type="submit" class="btn btn--primary" disabled={name.trim() === '' || name.trim() === who?.name}>
          {t('do.save')}
        </button>
      </form>
      <section class="card stack">
        <h2>{t('person.identity')}</h2>
        <p class="mono" dir="ltr">
          {who?.identity}
        </p>
        <div class="row">
          <CopyButton text={who?.identity} label={t('do.copy')} class="btn btn--line btn--small" />
        </div>
        <h3>{t('details.device')}</h3>
        <p class="mono" dir="ltr">
          {who?.device}
        </p>
      </section>
    </>
  );
}

function CallSettings() {
  const { ringtone: sounds, notifications, relayOnly } = prefs.value;
  const [permission, setPermission] = useState(worker.notifying());
  const change = (what: Parameters<ReturnType<typeof running>['setPolicy']>[0]) => void attempt(running().setPolicy(what).then(() => {
    policy.value = running().policy;
  }));
  const notify = async (on: boolean) => {
    if (on && permission === 'default') await worker.askToNotify();
    setPermission(worker.notifying());
    prefer({ notifications: on });
  };
  return (
    <>
      <section class="card stack">
        <Switch
          label={t('settings.firstContact')}
          hint={t('settings.firstContact.hint')}
          on={policy.value.firstContact}
          onChange={(firstContact) => change({ firstContact })}
        />
        <Switch
          label={t('settings.dnd')}
          hint={t('settings.dnd.hint')}
          on={policy.value.doNotDisturb}
          onChange={(doNotDisturb) => change({ doNotDisturb })}
        />
      </section>
      <section class="card stack">
        <Switch label={t('settings.ringtone')} hint={t('settings.ringtone.hint')} on={sounds} onChange={(on) => prefer({ ringtone: on })} />
        <div>
          <button type="button" class="btn btn--quiet btn--small" onClick={() => ringtone.chime(ringtone.INCOMING)}>
            <Icon name="speaker" size={20} />
            {t('settings.ringtone.try')}
          </button>
        </div>
        <Switch
          label={t('settings.notifications')}
          hint={t('settings.notifications.hint')}
          on={notifications && permission === 'granted'}
          disabled={permission === 'denied' || permission === 'unsupported'}
          onChange={(on) => void notify(on)}
        />
        {permission === 'denied' && <Note kind="warn">{t('settings.notifications.denied')}</Note>}
        {permission === 'unsupported' && <Note>{t('settings.notifications.unsupported')}</Note>}
        <WakeSwitch />
      </section>
      <section class="card stack">
        <DeviceChoice />
      </section>
      <section class="card">
        <Switch
          label={t('settings.relayOnly')}
          hint={t('settings.relayOnly.hint')}
          on={relayOnly}
          // It begins the phone anew, and a call would end by that.
          disabled={calls.value.length > 0}
          onChange={(on) => {
            prefer({ relayOnly: on });
            void attempt(restart());
          }}
        />
      </section>
    </>
  );
}

/** Whether the node may wake this browser: only where both of them can. */
function WakeSwitch() {
  const [key, setKey] = useState<Uint8Array<ArrayBuffer>>();
  const [on, setOn] = useState(false);
  useEffect(() => {
    void ready().then((phone) => phone.wake.serverKey()).then(setKey, () => undefined);
    void worker.subscribed().then(setOn);
  }, []);
  const change = async (wanted: boolean) => {
    const { wake } = running();
    if (!wanted) {
      await wake.unregister();
      await worker.unsubscribe();
      setOn(false);
      return;
    }
    if (key === undefined || !(await worker.askToNotify())) return;
    const subscription = await worker.subscribe(key);
    if (subscription) await wake.register(subscription);
    setOn(subscription !== undefined);
  };
  return (
    <Switch
      label={t('settings.wake')}
      hint={key === undefined ? t('settings.wake.unavailable') : t('settings.wake.hint')}
      on={on}
      disabled={key === undefined && !on}
      onChange={(wanted) => void attempt(change(wanted))}
    />
  );
}

function Look() {
  return (
    <section class="card stack stack--l">
      <div class="field">
        <span class="field__label">{t('settings.theme')}</span>
        <Segmented
          label={t('settings.theme')}
          value={prefs.value.theme}
          options={[
            ['system', t('settings.theme.system')],
            ['light', t('settings.theme.light')],
            ['dark', t('settings.theme.dark')],
          ]}
          onChange={(theme) => prefer({ theme })}
        />
      </div>
      <div class="field">
        <label class="field__label" for="language">
          {t('settings.language')}
        </label>
        <select
          id="language"
          class="input select"
          value={prefs.value.language}
          onChange={(event) => prefer({ language: event.currentTarget.value as Locale | 'system' })}
        >
          <option value="system">{t('settings.language.system')}</option>
          {LANGUAGES.map(([value, name]) => (
            <option key={value} value={value} lang={value}>
              {name}
            </option>
          ))}
        </select>
      </div>
    </section>
  );
}

function NodeSettings() {
  const [address, setAddress] = useState(prefs.value.node);
  const [wrong, setWrong] = useState<string>();
  const now = presence.value;
  const save = async (event: Event) => {
    event.preventDefault();
    const text = address.trim();
    if (text !== '' && !/^wss:\/\/[^\s/]+\/\S*$/.test(text)) {
      setWrong(t('settings.node.invalid'));
      return;
    }
    prefer({ node: text });
    toast(t('settings.node.saved'));
    await attempt(restart());
  };
  return (
    <>
      <section class="card stack">
        <h2>{t('settings.node.current')}</h2>
        <PresenceLine />
        {now.state === 'online' && (
          <p class="mono" dir="ltr">
            {now.node.uri}
            {now.node.did && <br />}
            {now.node.did}
          </p>
        )}
        {now.state === 'offline' && (
          <p class="small muted" lang="en">
            {now.why}
          </p>
        )}
      </section>
      <form class="card stack stack--l" onSubmit={save} noValidate>
        <Field
          label={t('settings.node.address')}
          hint={t('settings.node.hint2')}
          placeholder="wss://node.example/dsip"
          type="url"
          code
          value={address}
          error={wrong}
          onInput={(value) => {
            setAddress(value);
            setWrong(undefined);
          }}
        />
        <button type="submit" class="btn btn--primary" disabled={address.trim() === prefs.value.node}>
          {t('do.save')}
        </button>
      </form>
      <section class="card">
        <Switch
          label={t('settings.publish')}
          hint={t('settings.publish.hint')}
          on={prefs.value.publish}
          onChange={(publish) => {
            prefer({ publish });
            void attempt(restart());
          }}
        />
      </section>
    </>
  );
}

function About() {
  return (
    <section class="card stack">
      <p>{t('about.text')}</p>
      <p class="muted">{t('about.version', { version: __VERSION__ })}</p>
    </section>
  );
}
