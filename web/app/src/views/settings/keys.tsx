/** Where the keys are, said plainly; backups; what guards the identity key. */
import type { Unlock } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { t } from '../../i18n/index.ts';
import { codeOf, erase, openHome, profile, toast } from '../../store.ts';
import { Icon } from '../../ui/icon.tsx';
import { Field, Note, Sheet, Sure } from '../../ui/parts.tsx';
import { errorWords } from '../../words.ts';
import { UnlockSheet, needsUnlock } from './unlock.tsx';

type Asks = 'file' | 'words' | 'guard' | 'erase';

export function Keys() {
  const [asks, setAsks] = useState<Asks>();
  const who = profile.value;
  if (!who) return null;
  const { protection } = who;
  const close = () => setAsks(undefined);
  return (
    <div class="stack stack--l">
      <section class="card stack">
        <h2>{t('keys.where')}</h2>
        <p class="keyfact">
          <Icon name="laptop" size={22} />
          <span>{t(`keys.device.${protection.device}`)}</span>
        </p>
        <p class="keyfact">
          <Icon name="key" size={22} />
          <span>{t(`keys.identity.${protection.identity}`)}</span>
        </p>
        <p class="keyfact">
          <Icon name={protection.persistent ? 'file' : 'warn'} size={22} />
          <span>{t(protection.persistent ? 'keys.persistent.yes' : 'keys.persistent.no')}</span>
        </p>
      </section>
      {who.hasIdentityKey && (
        <>
          <section class="stack">
            <h2>{t('keys.backup')}</h2>
            <p class="muted">{t('keys.backup.lead')}</p>
            <ul class="list list--plain">
              <li>
                <Action icon="file" title={t('keys.file')} hint={t('keys.file.hint')} onClick={() => setAsks('file')} />
              </li>
              <li>
                <Action icon="words" title={t('keys.words')} hint={t('keys.words.hint')} onClick={() => setAsks('words')} />
              </li>
              <li>
                <Action icon="passkey" title={t('keys.guard')} hint={t(`keys.guard.${protection.identity === 'absent' ? 'browser' : protection.identity}`)} onClick={() => setAsks('guard')} />
              </li>
            </ul>
          </section>
        </>
      )}
      <section class="stack">
        <button type="button" class="btn btn--danger-quiet" onClick={() => setAsks('erase')}>
          <Icon name="trash" size={20} />
          {t('keys.erase')}
        </button>
        <p class="small muted center">{t('keys.erase.hint')}</p>
      </section>
      {asks === 'file' && <FileSheet onClose={close} />}
      {asks === 'words' && <WordsSheet onClose={close} />}
      {asks === 'guard' && <GuardSheet onClose={close} />}
      {asks === 'erase' && (
        <Sure title={t('keys.erase.sure')} hint={t('keys.erase.warn')} yes={t('keys.erase')} onYes={() => void erase()} onClose={close} />
      )}
    </div>
  );
}

function Action(props: { icon: 'file' | 'words' | 'passkey'; title: string; hint: string; onClick: () => void }) {
  return (
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
  );
}

/** A passphrase, twice. */
function NewPassphrase(props: { go: string; onPassphrase: (passphrase: string) => Promise<void> }) {
  const [first, setFirst] = useState('');
  const [second, setSecond] = useState('');
  const [wrong, setWrong] = useState<{ readonly at: 1 | 2; readonly words: string }>();
  const [busy, setBusy] = useState(false);
  const take = async (event: Event) => {
    event.preventDefault();
    if (first.length < 10) return setWrong({ at: 1, words: t('keys.passphrase.short') });
    if (first !== second) return setWrong({ at: 2, words: t('keys.passphrase.differs') });
    setBusy(true);
    try {
      await props.onPassphrase(first);
    } catch (error) {
      setWrong({ at: 2, words: errorWords(codeOf(error)) });
    }
    setBusy(false);
  };
  return (
    <form class="stack stack--l" onSubmit={take}>
      <Field
        label={t('keys.passphrase.new')}
        hint={t('keys.passphrase.short')}
        type="password"
        autocomplete="new-password"
        value={first}
        error={wrong?.at === 1 ? wrong.words : undefined}
        onInput={(value) => {
          setFirst(value);
          setWrong(undefined);
        }}
      />
      <Field
        label={t('keys.passphrase.again')}
        type="password"
        autocomplete="new-password"
        value={second}
        error={wrong?.at === 2 ? wrong.words : undefined}
        onInput={(value) => {
          setSecond(value);
          setWrong(undefined);
        }}
      />
      <button type="submit" class="btn btn--primary btn--wide" disabled={busy}>
        {props.go}
      </button>
    </form>
  );
}

function FileSheet({ onClose }: { onClose: () => void }) {
  const [unlock, setUnlock] = useState<Unlock | undefined>();
  const [opened, setOpened] = useState(!needsUnlock());
  if (!opened) {
    return (
      <UnlockSheet
        title={t('keys.unlock')}
        go={t('keys.unlock.go')}
        onClose={onClose}
        onUnlock={async (how) => {
          setUnlock(how);
          setOpened(true);
        }}
      />
    );
  }
  return (
    <Sheet title={t('keys.file')} onClose={onClose}>
      <NewPassphrase
        go={t('keys.file')}
        onPassphrase={async (passphrase) => {
          const blob = await (await openHome()).exportBackup(passphrase, unlock);
          save(blob, `dsip-${(profile.value?.name ?? 'identity').replace(/[^\p{L}\p{N}]+/gu, '-')}.backup`);
          toast(t('keys.file.saved'));
          onClose();
        }}
      />
    </Sheet>
  );
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function WordsSheet({ onClose }: { onClose: () => void }) {
  const [words, setWords] = useState<readonly string[]>();
  if (words === undefined) {
    return (
      <UnlockSheet
        title={t('keys.words')}
        hint={t('keys.words.warn')}
        go={t('keys.words.show')}
        onClose={onClose}
        onUnlock={async (unlock) => setWords(await (await openHome()).exportWords(unlock))}
      />
    );
  }
  return (
    <Sheet title={t('keys.words.list')} onClose={onClose} wide>
      <ol class="words24" dir="ltr" lang="en">
        {words.map((word, i) => (
          <li key={i}>{word}</li>
        ))}
      </ol>
      <button type="button" class="btn btn--primary btn--wide" onClick={onClose}>
        {t('do.done')}
      </button>
    </Sheet>
  );
}

function GuardSheet({ onClose }: { onClose: () => void }) {
  const [opened, setOpened] = useState<{ readonly by: Unlock | undefined } | undefined>(needsUnlock() ? undefined : { by: undefined });
  const [canPasskey, setCanPasskey] = useState(false);
  const [passphrase, setPassphrase] = useState(false);
  const [wrong, setWrong] = useState<string>();
  useEffect(() => {
    void openHome().then(async (home) => setCanPasskey(await home.canUsePasskey()));
  }, []);
  const guard = async (by: Unlock | { readonly browser: true }) => {
    await (await openHome()).guard(by, opened?.by);
    toast(t('keys.guard.set'));
    onClose();
  };
  const press = (by: Unlock | { readonly browser: true }) =>
    guard(by).catch((error: unknown) => setWrong(errorWords(codeOf(error))));
  if (!opened) {
    return (
      <UnlockSheet title={t('keys.unlock')} go={t('keys.unlock.go')} onClose={onClose} onUnlock={async (by) => setOpened({ by })} />
    );
  }
  return (
    <Sheet title={t('keys.guard')} onClose={onClose}>
      <p class="muted">{t('keys.guard.lead')}</p>
      {wrong && (
        <Note kind="danger" live>
          {wrong}
        </Note>
      )}
      {passphrase ? (
        <NewPassphrase go={t('do.save')} onPassphrase={(text) => guard({ passphrase: text })} />
      ) : (
        <div class="stack">
          <button type="button" class="btn btn--line" disabled={!canPasskey} onClick={() => void press({ passkey: true })}>
            <Icon name="passkey" size={20} />
            {t('keys.guard.passkey')}
          </button>
          {!canPasskey && <p class="small muted">{t('keys.guard.passkey.no')}</p>}
          <button type="button" class="btn btn--line" onClick={() => setPassphrase(true)}>
            <Icon name="words" size={20} />
            {t('keys.guard.passphrase')}
          </button>
          <button type="button" class="btn btn--line" onClick={() => void press({ browser: true })}>
            <Icon name="laptop" size={20} />
            {t('keys.guard.browser')}
          </button>
        </div>
      )}
    </Sheet>
  );
}
