/** The address book, requests to be let in, and one person. */
import type { Contact, Request } from '@dsip/client';
import { useState } from 'preact/hooks';
import { isolate, t, tn } from '../i18n/index.ts';
import { go, write } from '../route.ts';
import { attempt, call, contactOf, contacts, history, requests, running, toast } from '../store.ts';
import { Avatar } from '../ui/avatar.tsx';
import { Icon } from '../ui/icon.tsx';
import { BasisChip, CopyButton, Empty, Field, Heading, Note, Segmented, Sheet, Sure } from '../ui/parts.tsx';
import { Name, PersonRow } from '../ui/person.tsx';
import { moment } from '../when.ts';
import { basisOf, basisWords, contactNamed, inSentence, named } from '../words.ts';
import { CallButton } from './home.tsx';
import { CallLine } from './recents.tsx';

export function People() {
  const [search, setSearch] = useState('');
  const [kind, setKind] = useState<'all' | 'blocked'>('all');
  const wanted = search.trim().toLocaleLowerCase();
  const all = contacts.value.filter((contact) => contact.blocked === (kind === 'blocked'));
  const shown = all
    .filter((contact) => `${contact.name ?? ''} ${contact.identity}`.toLocaleLowerCase().includes(wanted))
    .sort((a, b) => contactNamed(a).name.localeCompare(contactNamed(b).name));
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <Heading>{t('people.title')}</Heading>
      </header>
      <RequestsLink />
      <Segmented
        label={t('people.kind')}
        value={kind}
        options={[
          ['all', t('people.all')],
          ['blocked', t('people.blocked')],
        ]}
        onChange={setKind}
      />
      {all.length > 6 && (
        <Field label={t('people.search')} hideLabel placeholder={t('people.search')} type="search" value={search} onInput={setSearch} />
      )}
      {shown.length > 0 ? (
        <ul class="list">
          {shown.map((contact) => (
            <li key={contact.identity}>
              <ContactRow contact={contact} />
            </li>
          ))}
        </ul>
      ) : all.length > 0 ? (
        <p class="muted" role="status">
          {t('people.none')}
        </p>
      ) : kind === 'blocked' ? (
        <Empty icon="block" title={t('people.blocked.none')} hint={t('person.block.hint')} />
      ) : (
        <Empty icon="people" title={t('people.empty')} hint={t('people.empty.hint')}>
          <a class="btn btn--primary" href={write({ at: 'home' })}>
            <Icon name="scan" size={20} />
            {t('home.scan')}
          </a>
        </Empty>
      )}
    </div>
  );
}

function ContactRow({ contact }: { contact: Contact }) {
  const who = contactNamed(contact);
  return (
    <PersonRow
      id={contact.identity}
      who={who}
      sub={<span>{basisWords(basisOf(contact.identity), true, false).text}</span>}
      href={write({ at: 'person', did: contact.identity })}
      end={contact.blocked ? undefined : <CallButton id={contact.identity} name={who.name} />}
    />
  );
}

function RequestsLink() {
  const n = requests.value.length;
  return (
    <a class="card hint" href={write({ at: 'requests' })}>
      <span class="hint__icon">
        <Icon name="hand" />
      </span>
      <span class="item__title">{n > 0 ? tn('home.requests', n) : t('requests.title')}</span>
      {n > 0 && <span class="badge num" aria-hidden="true">{n}</span>}
      <Icon name="chevron" class="item__chevron flip" size={20} />
    </a>
  );
}

/** Strangers who ask. Nothing here rings, and nothing here looks like a call (TRU-14). */
export function Requests() {
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <a class="btn btn--icon" href={write({ at: 'people' })} aria-label={t('nav.back')}>
          <Icon name="back" class="flip" />
        </a>
        <Heading>{t('requests.title')}</Heading>
      </header>
      <p class="muted">{t('requests.lead')}</p>
      {requests.value.length === 0 ? (
        <Empty icon="hand" title={t('requests.empty')} hint={t('requests.empty.hint')} />
      ) : (
        <ul class="stack">
          {requests.value.map((request) => (
            <li key={request.introduction}>
              <RequestCard request={request} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function RequestCard({ request }: { request: Request }) {
  const who = named({ ...request, contactName: contactOf(request.identity)?.name });
  const allow = async () => {
    if (await attempt(running().grant(request.introduction))) toast(t('requests.allowed', { name: inSentence(who) }));
  };
  const decline = async () => {
    if (await attempt(running().reject(request.introduction))) toast(t('requests.declined'));
  };
  return (
    <article class="card stack" aria-label={who.name}>
      <div class="row row--top">
        <Avatar id={request.identity} name={who.name} size={56} />
        <div class="item__text stack stack--s">
          <h2 dir="auto">
            <Name who={who} />
          </h2>
          <BasisChip basis={basisOf(request.identity)} known={false} />
        </div>
      </div>
      {request.purpose && (
        <blockquote class="quote" dir="auto">
          <span class="sr">{t('requests.purpose')}: </span>
          {request.purpose}
        </blockquote>
      )}
      <p class="small muted">
        {t('requests.at', { when: moment(request.at, Date.now()) })} · <span class="mono" dir="ltr">{named({ identity: request.identity }).name}</span>
      </p>
      <div class="row row--fill">
        <button type="button" class="btn btn--line" onClick={decline}>
          {t('requests.decline')}
        </button>
        <button type="button" class="btn btn--primary" onClick={allow}>
          {t('requests.allow')}
        </button>
      </div>
      <button
        type="button"
        class="btn btn--danger-quiet btn--small"
        onClick={async () => {
          if (await attempt(running().block(request.identity, true))) await attempt(running().reject(request.introduction));
        }}
      >
        {t('requests.block')}
      </button>
    </article>
  );
}

export function Person({ did }: { did: string }) {
  const [asks, setAsks] = useState<'remove' | 'block' | 'rename'>();
  const contact = contactOf(did);
  const entries = history.value.filter((entry) => entry.identity === did);
  const claimed = entries.find((entry) => entry.claimedName)?.claimedName;
  const who = named({ identity: did, contactName: contact?.name, claimedName: claimed });
  const name = inSentence(who);
  const close = () => setAsks(undefined);
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <button type="button" class="btn btn--icon" aria-label={t('nav.back')} onClick={() => window.history.back()}>
          <Icon name="back" class="flip" />
        </button>
        <Heading class="sr">{who.name}</Heading>
      </header>
      <section class="card callee">
        <Avatar id={did} name={who.name} size={112} />
        <h2 class="display" dir="auto">
          <Name who={who} />
        </h2>
        <BasisChip basis={basisOf(did)} known={contact !== undefined} proved={false} />
        {contact?.name && claimed && claimed !== contact.name && (
          <p class="small muted">{t('to.calledBy', { name: isolate(claimed) })}</p>
        )}
        {contact?.blocked ? (
          <Note kind="warn" icon="block">
            {t('person.blocked')}
          </Note>
        ) : (
          <div class="callee__actions">
            <button type="button" class="btn btn--answer" onClick={() => void call(did, { audio: true, video: false })}>
              <Icon name="phone" size={22} />
              {t('to.call')}
            </button>
            <button type="button" class="btn btn--primary" onClick={() => void call(did, { audio: true, video: true })}>
              <Icon name="video" size={22} />
              {t('to.video')}
            </button>
          </div>
        )}
      </section>
      <section class="card stack">
        <h2>{t('person.identity')}</h2>
        <p class="mono" dir="ltr">
          {did}
        </p>
        <div class="row">
          <CopyButton text={did} label={t('do.copy')} class="btn btn--line btn--small" />
          <button type="button" class="btn btn--line btn--small" onClick={() => setAsks('rename')}>
            {contact ? t('person.rename') : t('to.add')}
          </button>
        </div>
      </section>
      {entries.length > 0 && (
        <section class="stack">
          <h2>{t('person.history')}</h2>
          <ul class="list list--plain">
            {entries.slice(0, 20).map((entry) => (
              <li key={entry.call}>
                <CallLine entry={entry} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <div class="row">
        {contact?.blocked ? (
          <button type="button" class="btn btn--line" onClick={() => void attempt(running().block(did, false))}>
            {t('person.unblock')}
          </button>
        ) : (
          <button type="button" class="btn btn--danger-quiet" onClick={() => setAsks('block')}>
            <Icon name="block" size={20} />
            {t('person.block')}
          </button>
        )}
        {contact && (
          <button type="button" class="btn btn--danger-quiet" onClick={() => setAsks('remove')}>
            <Icon name="trash" size={20} />
            {t('person.remove')}
          </button>
        )}
      </div>
      {asks === 'block' && (
        <Sure
          title={t('person.block.sure', { name })}
          hint={t('person.block.hint')}
          yes={t('person.block')}
          onYes={() => void attempt(running().block(did, true))}
          onClose={close}
        />
      )}
      {asks === 'remove' && (
        <Sure
          title={t('person.remove.sure', { name })}
          hint={t('person.remove.hint')}
          yes={t('do.remove')}
          onYes={async () => {
            if (await attempt(running().remove(did))) go({ at: 'people' }, 'replace');
          }}
          onClose={close}
        />
      )}
      {asks === 'rename' && (
        <Rename did={did} title={contact ? t('person.rename') : t('to.add')} before={contact?.name ?? claimed ?? ''} onClose={close} />
      )}
    </div>
  );
}

function Rename({ did, title, before, onClose }: { did: string; title: string; before: string; onClose: () => void }) {
  const [name, setName] = useState(before);
  const save = async (event: Event) => {
    event.preventDefault();
    if (await attempt(running().allow(did, name.trim() ? { name: name.trim() } : {}))) onClose();
  };
  return (
    <Sheet title={title} onClose={onClose}>
      <form class="stack stack--l" onSubmit={save}>
        <Field label={t('person.name')} hint={t('person.name.hint')} value={name} onInput={setName} maxLength={64} autofocus />
        <button type="submit" class="btn btn--primary btn--wide">
          {t('do.save')}
        </button>
      </form>
    </Sheet>
  );
}
