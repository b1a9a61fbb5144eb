/** Calls that were. On this device only. */
import type { HistoryEntry } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { write } from '../route.ts';
import { attempt, contactOf, history, running, sawHistory } from '../store.ts';
import { Icon, type IconName } from '../ui/icon.tsx';
import { Empty, Heading, Segmented, Sure } from '../ui/parts.tsx';
import { PersonRow } from '../ui/person.tsx';
import { clock, day, moment, startOfDay, time } from '../when.ts';
import { named, type Outcome, outcome, outcomeWords } from '../words.ts';
import { CallButton } from './home.tsx';

export function Recents() {
  const [clearing, setClearing] = useState(false);
  const [which, setWhich] = useState<'all' | 'missed'>('all');
  useEffect(sawHistory, [history.value]);
  const shown = history.value.filter((entry) => which === 'all' || entry.missed);
  const now = Date.now();
  return (
    <div class="narrow stack stack--l">
      <header class="bar">
        <Heading>{t('recents.title')}</Heading>
        {history.value.length > 0 && (
          <button type="button" class="btn btn--icon" aria-label={t('recents.clear')} onClick={() => setClearing(true)}>
            <Icon name="trash" size={22} />
          </button>
        )}
      </header>
      {history.value.length > 0 && (
        <Segmented
          label={t('recents.filter')}
          value={which}
          options={[
            ['all', t('recents.all')],
            ['missed', t('recents.missed')],
          ]}
          onChange={setWhich}
        />
      )}
      {shown.length === 0 && <Empty icon="clock" title={t('recents.empty')} hint={t('recents.empty.hint')} />}
      {byDay(shown).map((entries) => (
        <section class="stack" key={startOfDay(entries[0]?.endedAt ?? 0)}>
          <h2 class="day">{day(entries[0]?.endedAt ?? 0, now)}</h2>
          <ul class="list">
            {entries.map((entry) => (
              <li key={entry.call}>
                <Line entry={entry} />
              </li>
            ))}
          </ul>
        </section>
      ))}
      {clearing && (
        <Sure
          title={t('recents.clear.sure')}
          hint={t('recents.clear.hint')}
          yes={t('recents.clear')}
          onYes={() => void attempt(running().clearHistory())}
          onClose={() => setClearing(false)}
        />
      )}
    </div>
  );
}

/** Entries by the day on which they ended, in the order given. */
export function byDay(entries: readonly HistoryEntry[]): readonly (readonly HistoryEntry[])[] {
  const days = new Map<number, HistoryEntry[]>();
  for (const entry of entries) {
    const key = startOfDay(entry.endedAt);
    const of = days.get(key);
    if (of) of.push(entry);
    else days.set(key, [entry]);
  }
  return [...days.values()];
}

const ICONS: Readonly<Record<Outcome, IconName>> = {
  missed: 'missed',
  incoming: 'incoming',
  outgoing: 'outgoing',
  declined: 'incoming',
  elsewhere: 'incoming',
  unanswered: 'outgoing',
  busy: 'outgoing',
  refused: 'outgoing',
  failed: 'outgoing',
};

function What({ entry, when }: { entry: HistoryEntry; when: string }) {
  const what = outcome(entry);
  const lasted = entry.answeredAt === undefined ? '' : ` · ${clock(entry.endedAt - entry.answeredAt)}`;
  return (
    <>
      <Icon name={ICONS[what]} size={16} />
      <span class="num">
        {outcomeWords(what)} · {when}
        {lasted}
      </span>
    </>
  );
}

function Line({ entry }: { entry: HistoryEntry }) {
  const who = named({ ...entry, contactName: contactOf(entry.identity)?.name ?? entry.contactName });
  return (
    <PersonRow
      id={entry.identity}
      who={who}
      sub={<What entry={entry} when={time(entry.startedAt)} />}
      subKind={entry.missed ? 'danger' : undefined}
      href={write({ at: 'person', did: entry.identity })}
      end={<CallButton id={entry.identity} name={who.name} />}
    />
  );
}

/** One call with somebody, where the somebody is known already. */
export function CallLine({ entry }: { entry: HistoryEntry }) {
  return (
    <div class="item item--slim">
      <span class={entry.missed ? 'item__sub item__sub--danger' : 'item__sub'}>
        <What entry={entry} when={moment(entry.startedAt, Date.now())} />
      </span>
    </div>
  );
}
