/** The first face: a name, and done. Or an identity one has already. */
import type { Link } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { isolate, t } from '../i18n/index.ts';
import { route } from '../route.ts';
import { attempt, create, library } from '../store.ts';
import { Mark } from '../ui/avatar.tsx';
import { Icon } from '../ui/icon.tsx';
import { Lazy } from '../ui/lazy.tsx';
import { Field, Heading, Note } from '../ui/parts.tsx';

export function Welcome() {
  const [name, setName] = useState('');
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const [restoring, setRestoring] = useState(false);
  const inviter = useInviter();

  const begin = async (event: Event) => {
    event.preventDefault();
    if (name.trim() === '') {
      setError(t('welcome.name.missing'));
      return;
    }
    setBusy(true);
    await attempt(create(name.trim()));
    setBusy(false);
  };

  return (
    <main class="welcome" id="main">
      <div class="welcome__art" aria-hidden="true">
        <Waves />
      </div>
      <div class="welcome__body">
        <div class="brand">
          <Mark size={44} />
          <span>{t('app.name')}</span>
        </div>
        <div class="stack">
          <Heading class="display">{t('welcome.title')}</Heading>
          <p class="lead">{t('welcome.lead')}</p>
        </div>
        {inviter && (
          <Note icon="phone" title={t('welcome.invited', { name: isolate(inviter) })}>
            <span>{t('welcome.invited.hint')}</span>
          </Note>
        )}
        <form class="stack" onSubmit={begin} noValidate>
          <Field
            label={t('welcome.name')}
            hint={t('welcome.name.hint')}
            error={error}
            value={name}
            maxLength={64}
            autocomplete="name"
            onInput={(value) => {
              setName(value);
              setError(undefined);
            }}
          />
          <button type="submit" class="btn btn--primary btn--wide" disabled={busy}>
            {busy ? t('welcome.starting') : t('welcome.start')}
          </button>
          <button type="button" class="btn btn--quiet" onClick={() => setRestoring(true)}>
            <Icon name="key" size={20} />
            {t('welcome.have')}
          </button>
        </form>
      </div>
      {restoring && <Lazy of={() => import('./restore.tsx')} pick="Restore" props={{ onClose: () => setRestoring(false) }} />}
    </main>
  );
}

/** Who gave the link that was opened, as the link says. */
function useInviter(): string | undefined {
  const [name, setName] = useState<string>();
  const target = route.value.at === 'to' ? route.value.target : undefined;
  useEffect(() => {
    if (target === undefined) return;
    const read = async (): Promise<Link> => (await library()).parseLink(target);
    read().then(
      (link) => setName(link.name),
      () => undefined,
    );
  }, [target]);
  return name;
}

function Waves() {
  const radii = [70, 130, 195, 265, 340, 420, 505];
  return (
    <svg viewBox="-520 -520 1040 1040" fill="none" preserveAspectRatio="xMidYMid slice">
      {radii.map((radius, i) => (
        <circle
          key={radius}
          class="wave"
          r={radius}
          stroke="currentColor"
          stroke-width={2.5}
          stroke-opacity={0.62 - i * 0.08}
          stroke-linecap="round"
          pathLength="100"
          stroke-dasharray={`${22 + ((i * 37) % 40)} ${12 + ((i * 23) % 20)}`}
          transform={`rotate(${i * 71})`}
        />
      ))}
      <circle r="22" fill="#ff7a52" />
    </svg>
  );
}
