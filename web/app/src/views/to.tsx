/** Somebody one might call: who it is, on what basis, and only then the button. A link never calls by itself (WPH-23). */
import type { ErrorCode, Located } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { isolate, t } from '../i18n/index.ts';
import { go, write } from '../route.ts';
import { asked, attempt, call, codeOf, contactOf, introduce, locate, presence, profile, running, toast } from '../store.ts';
import { Avatar } from '../ui/avatar.tsx';
import { Icon } from '../ui/icon.tsx';
import { BasisChip, Busy, Empty, Field, Heading, Note, Sheet } from '../ui/parts.tsx';
import { Name } from '../ui/person.tsx';
import { basisOf, errorWords, inSentence, type Named, named } from '../words.ts';

type Found = { readonly at: 'looking' } | { readonly at: 'here'; readonly who: Located } | { readonly at: 'nowhere'; readonly code: ErrorCode };

export function To({ target, asks }: { target: string; asks: boolean }) {
  const [found, setFound] = useState<Found>({ at: 'looking' });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let live = true;
    setFound({ at: 'looking' });
    locate(target).then(
      (who) => live && setFound({ at: 'here', who }),
      (error: unknown) => live && setFound({ at: 'nowhere', code: codeOf(error) }),
    );
    return () => {
      live = false;
    };
  }, [target, round]);
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <a class="btn btn--icon" href={write({ at: 'home' })} aria-label={t('nav.back')}>
          <Icon name="back" class="flip" />
        </a>
        <Heading>{t('to.title')}</Heading>
      </header>
      {found.at === 'looking' && <Busy text={t('home.dial.finding')} />}
      {found.at === 'nowhere' && (
        <div class="card">
          <Empty icon="search" title={t('to.notFound')} hint={errorWords(found.code)}>
            <p class="mono" dir="ltr">
              {target.length > 90 ? `${target.slice(0, 90)}…` : target}
            </p>
            <button type="button" class="btn btn--line" onClick={() => setRound(round + 1)}>
              {t('do.retry')}
            </button>
          </Empty>
        </div>
      )}
      {found.at === 'here' && <Callee who={found.who} target={target} asks={asks} />}
    </div>
  );
}

function Callee({ who, target, asks }: { who: Located; target: string; asks: boolean }) {
  const contact = contactOf(who.did);
  const name = named({ identity: who.did, contactName: contact?.name, claimedName: who.claimedName });
  const sentence = inSentence(name);
  if (who.did === profile.value?.identity) {
    return (
      <div class="card">
        <Empty icon="qr" title={t('to.self')} hint={t('to.self.hint')} />
      </div>
    );
  }
  const state = asked.value.get(who.did);
  const add = async () => {
    const given = who.claimedName ?? who.alias;
    const places = who.places.map((place) => place.address);
    if (await attempt(running().allow(who.did, { ...(given ? { name: given } : {}), places }))) {
      toast(t('to.added', { name: sentence }));
    }
  };
  return (
    <section class="card callee">
      <Avatar id={who.did} name={name.name} size={112} />
      <h2 class="display" dir="auto">
        <Name who={name} />
      </h2>
      <BasisChip basis={basisOf(who.did)} known={contact !== undefined} proved={false} />
      {name.claimed && <p class="small muted">{t('to.calledBy', { name: isolate(name.name) })}</p>}
      {who.alias && <p class="small muted">{t(who.aliasBy === 'node' ? 'to.alias.node' : 'to.alias', { alias: isolate(who.alias) })}</p>}
      <p class="mono muted" dir="ltr">
        {who.did}
      </p>
      {who.did.startsWith('did:web:') && !who.places.some(({ source }) => source === 'document') && (
        <Note kind="warn">{t('to.undocumented')}</Note>
      )}
      {contact?.blocked && <Note kind="warn">{t('person.blocked')}</Note>}
      {state === 'waiting' && <Note live>{t('to.asked')}</Note>}
      {state === 'granted' && (
        <Note kind="good" live>
          {t('notify.granted', { name: sentence })}
        </Note>
      )}
      {state === 'refused' && (
        <Note kind="warn" live>
          {t('notify.refused', { name: sentence })}
        </Note>
      )}
      {presence.value.state === 'connecting' && <Busy text={t('presence.connecting')} />}
      <div class="callee__actions">
        <button type="button" class="btn btn--answer" onClick={() => void call(who, { audio: true, video: false })}>
          <Icon name="phone" size={22} />
          {t('to.call')}
        </button>
        <button type="button" class="btn btn--primary" onClick={() => void call(who, { audio: true, video: true })}>
          <Icon name="video" size={22} />
          {t('to.video')}
        </button>
      </div>
      <div class="row callee__more">
        {contact === undefined ? (
          <button type="button" class="btn btn--quiet" onClick={add}>
            <Icon name="personAdd" size={20} />
            {t('to.add')}
          </button>
        ) : (
          <button type="button" class="btn btn--quiet" onClick={() => go({ at: 'person', did: who.did })}>
            <Icon name="person" size={20} />
            {t('person.details')}
          </button>
        )}
        <button type="button" class="btn btn--quiet" onClick={() => go({ at: 'ask', target }, 'replace')}>
          <Icon name="hand" size={20} />
          {t('to.ask')}
        </button>
      </div>
      {asks && <Ask who={who} name={name} onClose={() => go({ at: 'to', target }, 'replace')} />}
    </section>
  );
}

/** Asks to be let in: words that are read at leisure, and never ring. */
export function Ask({ who, name, onClose }: { who: Located; name: Named; onClose: () => void }) {
  const [purpose, setPurpose] = useState('');
  const [token, setToken] = useState('');
  const send = async (event: Event) => {
    event.preventDefault();
    if (await attempt(introduce(who, purpose.trim(), token.trim()))) onClose();
  };
  return (
    <Sheet title={t('to.ask.title', { name: inSentence(name) })} onClose={onClose}>
      <form class="stack stack--l" onSubmit={send}>
        <Field
          label={t('to.ask.purpose')}
          hint={t('to.ask.hint')}
          value={purpose}
          onInput={setPurpose}
          rows={3}
          maxLength={280}
          autofocus
        />
        <details class="more">
          <summary>{t('to.ask.token.have')}</summary>
          <Field label={t('to.ask.token')} hint={t('to.ask.token.hint')} value={token} onInput={setToken} code />
        </details>
        <button type="submit" class="btn btn--primary btn--wide">
          {t('to.ask.send')}
        </button>
      </form>
    </Sheet>
  );
}
