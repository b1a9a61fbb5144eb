/** Real-time text: each letter as it is typed, for who does not hear or cannot speak, or for a number that has to be right. */
import type { RealTimeText } from '@dsip/client';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { prefer, prefs } from '../prefs.ts';
import { Icon } from '../ui/icon.tsx';
import { Switch } from '../ui/parts.tsx';

type Lines = RealTimeText['lines'];

/** The lines, drawn again at each change. */
export function useRealTimeText(text: RealTimeText | undefined): Lines {
  const [, draw] = useState(0);
  useEffect(() => text?.onChange(() => draw((n) => n + 1)), [text]);
  return text?.lines ?? [];
}

/** What has to be sent so that a text becomes another: as many steps back as need be, then the rest. */
export function difference(before: string, after: string): string {
  const from = [...before];
  const to = [...after];
  let same = 0;
  while (same < from.length && same < to.length && from[same] === to[same]) same++;
  return '\b'.repeat(from.length - same) + to.slice(same).join('');
}

export function TextPanel({ text, name, onClose }: { text: RealTimeText; name: string; onClose: () => void }) {
  const lines = useRealTimeText(text);
  const [mine, setMine] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const end = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => input.current?.focus(), []);
  useLayoutEffect(() => end.current?.scrollIntoView({ block: 'end' }), [lines.length, lines.at(-1)?.text]);
  const type = (value: string) => {
    text.send(difference(mine, value));
    setMine(value);
  };
  const finish = (event: Event) => {
    event.preventDefault();
    if (mine === '') return;
    text.send('\n');
    setMine('');
  };
  const unfinished = lines.findLast((line) => line.from === 'peer' && !line.finished);
  return (
    <aside class="textpanel" aria-label={t('text.title')}>
      <div class="textpanel__head">
        <h2>{t('text.title')}</h2>
        <button type="button" class="top__button" aria-label={t('do.close')} onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      <div class="textpanel__lines" tabIndex={0} role="group" aria-label={t('text.title')}>
        {lines.length === 0 && <p class="textpanel__empty">{t('text.empty')}</p>}
        {/* A finished line is read out; single letters would drown everything. */}
        <div role="log" aria-live="polite" class="textpanel__log">
          {lines
            .filter((line) => line.finished)
            .map((line, i) => (
              <p key={i} class={`bubble bubble--${line.from}`} dir="auto">
                <span class="sr">{line.from === 'us' ? t('who.you') : name}: </span>
                {line.text}
              </p>
            ))}
        </div>
        {unfinished && (
          <p class="bubble bubble--peer bubble--live" dir="auto">
            <span class="sr">{t('text.theyWrite', { name })}: </span>
            {unfinished.text}
            <span class="caret" aria-hidden="true" />
          </p>
        )}
        <div ref={end} />
      </div>
      <form class="textpanel__form" onSubmit={finish}>
        <input
          ref={input}
          class="input"
          dir="auto"
          value={mine}
          aria-label={t('text.input', { name })}
          placeholder={t('text.placeholder')}
          maxLength={1_000}
          autocomplete="off"
          onInput={(event) => type(event.currentTarget.value)}
        />
        <button type="submit" class="btn btn--icon btn--call" aria-label={t('text.end')} disabled={mine === ''}>
          <Icon name="outgoing" />
        </button>
      </form>
      <Switch label={t('text.captions')} on={prefs.value.captions} onChange={(captions) => prefer({ captions })} />
    </aside>
  );
}
