/** Opens the identity key for one purpose, in whatever way it is guarded. */
import type { Unlock } from '@dsip/client';
import { useState } from 'preact/hooks';
import { t } from '../../i18n/index.ts';
import { codeOf, profile } from '../../store.ts';
import { Icon } from '../../ui/icon.tsx';
import { Field, Note, Sheet } from '../../ui/parts.tsx';
import { errorWords } from '../../words.ts';

/** Whether the person has to do something for the identity key to be used. */
export function needsUnlock(): boolean {
  const guard = profile.value?.protection.identity;
  return guard === 'passphrase' || guard === 'passkey';
}

export function UnlockSheet(props: {
  title: string;
  hint?: string;
  go: string;
  danger?: boolean;
  onClose: () => void;
  onUnlock: (unlock: Unlock | undefined) => Promise<void>;
}) {
  const guard = profile.value?.protection.identity;
  const [passphrase, setPassphrase] = useState('');
  const [wrong, setWrong] = useState<string>();
  const [busy, setBusy] = useState(false);
  const unlock = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await props.onUnlock(guard === 'passphrase' ? { passphrase } : guard === 'passkey' ? { passkey: true } : undefined);
    } catch (error) {
      setWrong(errorWords(codeOf(error)));
    }
    setBusy(false);
  };
  return (
    <Sheet title={props.title} onClose={props.onClose}>
      <form class="stack stack--l" onSubmit={unlock}>
        {props.hint && <p class="muted">{props.hint}</p>}
        {guard === 'passphrase' ? (
          <Field
            label={t('keys.unlock.passphrase')}
            type="password"
            autocomplete="current-password"
            value={passphrase}
            error={wrong}
            autofocus
            onInput={(value) => {
              setPassphrase(value);
              setWrong(undefined);
            }}
          />
        ) : (
          wrong && (
            <Note kind="danger" live>
              {wrong}
            </Note>
          )
        )}
        <div class="row row--fill">
          <button type="button" class="btn btn--line" onClick={props.onClose}>
            {t('do.cancel')}
          </button>
          <button
            type="submit"
            class={props.danger ? 'btn btn--danger' : 'btn btn--primary'}
            disabled={busy || (guard === 'passphrase' && passphrase === '')}
          >
            {guard === 'passkey' && <Icon name="passkey" size={20} />}
            {props.go}
          </button>
        </div>
      </form>
    </Sheet>
  );
}
