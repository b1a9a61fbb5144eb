/** An identity one has already: from another device, a file, or 24 words. */
import type { LinkingRequest } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { isolate, t } from '../i18n/index.ts';
import { attempt, codeOf, openHome, start, toast } from '../store.ts';
import { Icon, type IconName } from '../ui/icon.tsx';
import { Busy, CopyButton, Field, Note, Sheet } from '../ui/parts.tsx';
import { Qr } from '../ui/qr.tsx';
import { errorWords } from '../words.ts';
import { CodeInput } from './settings/devices.tsx';
import { Fingerprint } from './settings/fingerprint.tsx';

type Way = 'choose' | 'device' | 'file' | 'words';

export function Restore({ onClose }: { onClose: () => void }) {
  const [way, setWay] = useState<Way>('choose');
  return (
    <Sheet title={t('welcome.restore')} onClose={onClose}>
      {way === 'choose' && (
        <ul class="list list--plain list--flat">
          <Choice icon="laptop" title={t('welcome.by.device')} hint={t('welcome.by.device.hint')} onClick={() => setWay('device')} />
          <Choice icon="file" title={t('welcome.by.file')} hint={t('welcome.by.file.hint')} onClick={() => setWay('file')} />
          <Choice icon="words" title={t('welcome.by.words')} hint={t('welcome.by.words.hint')} onClick={() => setWay('words')} />
        </ul>
      )}
      {way === 'device' && <FromDevice />}
      {way === 'file' && <FromFile />}
      {way === 'words' && <FromWords />}
    </Sheet>
  );
}

function Choice(props: { icon: IconName; title: string; hint: string; onClick: () => void }) {
  return (
    <li>
      <button type="button" class="item" onClick={props.onClick}>
        <span class="hint__icon">
          <Icon name={props.icon} />
        </span>
        <span class="item__text">
          <span class="item__title">{props.title}</span>
          <span class="item__sub">{props.hint}</span>
        </span>
        <Icon name="chevron" class="item__chevron flip" size={20} />
      </button>
    </li>
  );
}

async function arrive(name: string | undefined): Promise<void> {
  toast(t('restore.done', { name: isolate(name ?? '') }));
  await start();
}

function FromDevice() {
  const [request, setRequest] = useState<LinkingRequest>();
  const [wrong, setWrong] = useState<string>();
  useEffect(() => {
    let made: LinkingRequest | undefined;
    let finished = false;
    openHome()
      .then((home) => home.beginLinking({}))
      .then(
        (begun) => {
          if (finished) void begun.abandon();
          made = begun;
          setRequest(begun);
        },
        (error: unknown) => setWrong(errorWords(codeOf(error))),
      );
    return () => {
      finished = true;
      // Left half-way: the device key that nobody vouched for goes.
      void openHome().then((home) => (home.profile?.identity === undefined ? made?.abandon() : undefined));
    };
  }, []);
  if (wrong) return <Note kind="danger">{wrong}</Note>;
  if (!request) return <Busy text={t('welcome.starting')} />;
  return (
    <div class="stack stack--l">
      <div class="stack">
        <h3>1. {t('link.new.show')}</h3>
        <p class="small muted">{t('link.new.hint')}</p>
        <div class="code__qr code__qr--small">
          <Qr text={request.code} label={t('link.new.show')} />
        </div>
        <CopyButton text={request.code} label={t('link.copyCode')} class="btn btn--line btn--small" />
      </div>
      <div class="stack">
        <h3>2. {t('link.compare')}</h3>
        <Fingerprint of={request.fingerprint} />
      </div>
      <div class="stack">
        <h3>3. {t('link.new.scan')}</h3>
        <CodeInput
          onCode={async (code) => {
            const done = await attempt(request.finish(code).then((profile) => arrive(profile.name)));
            return done;
          }}
        />
      </div>
    </div>
  );
}

function FromFile() {
  const [file, setFile] = useState<File>();
  const [passphrase, setPassphrase] = useState('');
  const [wrong, setWrong] = useState<string>();
  const [busy, setBusy] = useState(false);
  const open = async (event: Event) => {
    event.preventDefault();
    if (!file) return;
    setBusy(true);
    try {
      const profile = await (await openHome()).importBackup(file, passphrase);
      await arrive(profile.name);
    } catch (error) {
      setWrong(errorWords(codeOf(error)));
    }
    setBusy(false);
  };
  return (
    <form class="stack stack--l" onSubmit={open}>
      <label class="btn btn--line btn--wide filepick">
        <Icon name="file" size={20} />
        <span>{file?.name ?? t('restore.file.choose')}</span>
        <input type="file" aria-label={t('restore.file')} onChange={(event) => setFile(event.currentTarget.files?.[0])} />
      </label>
      <Field
        label={t('keys.passphrase')}
        type="password"
        autocomplete="current-password"
        value={passphrase}
        error={wrong}
        onInput={(value) => {
          setPassphrase(value);
          setWrong(undefined);
        }}
      />
      <button type="submit" class="btn btn--primary btn--wide" disabled={busy || !file || passphrase === ''}>
        {busy ? t('home.dial.finding') : t('restore.go')}
      </button>
    </form>
  );
}

function FromWords() {
  const [words, setWords] = useState('');
  const [name, setName] = useState('');
  const [wrong, setWrong] = useState<string>();
  const [busy, setBusy] = useState(false);
  const count = words.trim() === '' ? 0 : words.trim().split(/\s+/).length;
  const open = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const profile = await (await openHome()).importWords(words.trim().split(/\s+/), { name: name.trim() });
      await arrive(profile.name);
    } catch (error) {
      setWrong(errorWords(codeOf(error)));
    }
    setBusy(false);
  };
  return (
    <form class="stack stack--l" onSubmit={open}>
      <Field
        label={t('restore.words')}
        hint={`${t('restore.words.hint')} ${t('restore.words.count', { n: count })}`}
        value={words}
        error={wrong}
        rows={4}
        code
        onInput={(value) => {
          setWords(value);
          setWrong(undefined);
        }}
      />
      <Field label={t('welcome.name')} value={name} maxLength={64} autocomplete="name" onInput={setName} />
      <button type="submit" class="btn btn--primary btn--wide" disabled={busy || count !== 24 || name.trim() === ''}>
        {t('restore.go')}
      </button>
    </form>
  );
}
