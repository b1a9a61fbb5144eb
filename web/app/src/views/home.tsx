/** The first place: whom to call, and my own code to be called by. */
import { useState } from 'preact/hooks';
import { t, tn } from '../i18n/index.ts';
import { go, write } from '../route.ts';
import { attempt, call, contactOf, contacts, history, myLinks, policy, profile, requests } from '../store.ts';
import { Avatar } from '../ui/avatar.tsx';
import { Icon } from '../ui/icon.tsx';
import { Lazy } from '../ui/lazy.tsx';
import { CopyButton, Empty, Field, Heading } from '../ui/parts.tsx';
import { PersonRow } from '../ui/person.tsx';
import { Qr } from '../ui/qr.tsx';
import { moment } from '../when.ts';
import { named, outcome, outcomeWords } from '../words.ts';
import { PresenceLine } from './shell.tsx';

export function Home() {
  return (
    <div class="home">
      <div class="home__main stack stack--l">
        <header class="bar">
          <Heading>{t('home.title')}</Heading>
          <div class="only-phone">
            <PresenceLine />
          </div>
        </header>
        <Dial />
        <RequestsHint />
        <Again />
      </div>
      <aside class="home__code" aria-label={t('code.title')}>
        <CodeCard />
      </aside>
    </div>
  );
}

function Dial() {
  const [target, setTarget] = useState('');
  const [scanning, setScanning] = useState(false);
  const find = (text: string) => {
    if (text.trim() !== '') go({ at: 'to', target: text.trim() });
  };
  return (
    <form
      class="dial"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        find(target);
      }}
    >
      <Field
        label={t('home.dial')}
        placeholder={t('home.dial.placeholder')}
        value={target}
        onInput={setTarget}
        maxLength={2100}
        code
        end={
          <button type="submit" class="btn btn--icon" aria-label={t('home.dial.go')} disabled={target.trim() === ''}>
            <Icon name="search" />
          </button>
        }
      />
      <div class="dial__more">
        <button type="button" class="btn btn--primary" onClick={() => setScanning(true)}>
          <Icon name="scan" size={22} />
          {t('home.scan')}
        </button>
        <a class="btn btn--line only-phone" href={write({ at: 'code' })}>
          <Icon name="qr" size={22} />
          {t('code.title')}
        </a>
      </div>
      {scanning && (
        <Lazy
          of={() => import('./scan.tsx')}
          pick="Scan"
          props={{
            onClose: () => setScanning(false),
            onFound: (text: string) => {
              setScanning(false);
              find(text);
            },
          }}
        />
      )}
    </form>
  );
}

function RequestsHint() {
  const n = requests.value.length;
  if (n === 0) return null;
  return (
    <a class="card hint" href={write({ at: 'requests' })}>
      <span class="hint__icon">
        <Icon name="hand" />
      </span>
      <span class="item__title">{tn('home.requests', n)}</span>
      <Icon name="chevron" class="item__chevron flip" size={20} />
    </a>
  );
}

/** People of the last calls, each once. */
function Again() {
  const seen = new Set<string>();
  const latest = history.value.filter((entry) => !seen.has(entry.identity) && seen.add(entry.identity)).slice(0, 5);
  const now = Date.now();
  if (latest.length === 0) {
    const known = contacts.value.filter((contact) => !contact.blocked).slice(0, 5);
    if (known.length === 0) return <Empty icon="people" title={t('home.empty')} hint={t('home.empty.hint')} />;
    return (
      <section class="stack">
        <h2>{t('people.title')}</h2>
        <ul class="list">
          {known.map((contact) => {
            const who = named({ identity: contact.identity, contactName: contact.name });
            return (
              <li key={contact.identity}>
                <PersonRow
                  id={contact.identity}
                  who={who}
                  sub={<span>{t('basis.contact')}</span>}
                  href={write({ at: 'person', did: contact.identity })}
                  end={<CallButton id={contact.identity} name={who.name} />}
                />
              </li>
            );
          })}
        </ul>
      </section>
    );
  }
  return (
    <section class="stack">
      <h2>{t('home.recent')}</h2>
      <ul class="list">
        {latest.map((entry) => {
          const who = named({ ...entry, contactName: contactOf(entry.identity)?.name ?? entry.contactName });
          const what = outcome(entry);
          return (
            <li key={entry.identity}>
              <PersonRow
                id={entry.identity}
                who={who}
                sub={
                  <span>
                    {outcomeWords(what)} · {moment(entry.endedAt, now)}
                  </span>
                }
                subKind={what === 'missed' ? 'danger' : undefined}
                href={write({ at: 'person', did: entry.identity })}
                end={<CallButton id={entry.identity} name={who.name} />}
              />
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Calls with one press. */
export function CallButton({ id, name }: { id: string; name: string }) {
  return (
    <button
      type="button"
      class="btn btn--icon btn--call"
      aria-label={t('recents.callBack', { name })}
      onClick={() => void call(id, { audio: true, video: false })}
    >
      <Icon name="phone" size={22} />
    </button>
  );
}

/** My code: to be scanned, copied, shared. */
export function CodeCard() {
  const who = profile.value;
  const links = myLinks.value;
  const share = () =>
    void attempt(
      navigator.share({ title: t('code.share.title'), url: links?.web ?? '' }).catch((error: unknown) => {
        // Closing the sheet is no failure.
        if (!(error instanceof DOMException && error.name === 'AbortError')) throw error;
      }),
    );
  return (
    <section class="code">
      <div class="code__who">
        {who?.identity && <Avatar id={who.identity} name={who.name ?? ''} size={44} />}
        <div class="item__text">
          <h2 dir="auto">{who?.name ?? t('who.nameless')}</h2>
          <p class="small muted">{policy.value.firstContact ? t('code.lead.strict') : t('code.lead')}</p>
        </div>
      </div>
      <div class="code__qr">
        <Qr text={links?.web} label={t('code.alt')} />
      </div>
      <div class="row row--fill">
        <CopyButton text={links?.web} label={t('code.copy')} />
        {'share' in navigator && (
          <button type="button" class="btn btn--primary" onClick={share} disabled={links === undefined}>
            <Icon name="share" size={20} />
            {t('do.share')}
          </button>
        )}
      </div>
    </section>
  );
}

/** My code, alone on the screen, to hold it in front of somebody. */
export function MyCode() {
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <a class="btn btn--icon" href={write({ at: 'home' })} aria-label={t('nav.back')}>
          <Icon name="back" class="flip" />
        </a>
        <Heading>{t('code.title')}</Heading>
      </header>
      <CodeCard />
    </div>
  );
}

