/** Parts that views are made of. Pure: what they show comes in, what happens goes out. */
import type { Basis } from '@dsip/client';
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { toast } from '../store.ts';
import { basisWords, type BasisWords } from '../words.ts';
import { Icon, type IconName } from './icon.tsx';

/** Whether a view was drawn before: the browser itself reads out the first one. */
let arrived = false;

/** The heading of a view. It takes the focus when one arrives, so that screen readers say where one is. */
export function Heading({ children, class: style }: { children: ComponentChildren; class?: string }) {
  const ref = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => {
    if (arrived) ref.current?.focus({ preventScroll: true });
    arrived = true;
  }, []);
  return (
    <h1 ref={ref} tabIndex={-1} class={style}>
      {children}
    </h1>
  );
}

/** A dialog: a sheet from below on a phone, a card in the middle elsewhere. The browser keeps the focus inside. */
export function Sheet(props: {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ComponentChildren;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  return (
    <dialog
      ref={ref}
      class={props.wide ? 'sheet sheet--wide' : 'sheet'}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => {
        if (event.target === ref.current) props.onClose();
      }}
    >
      <div class="sheet__head">
        <h2 id={id}>{props.title}</h2>
        <button type="button" class="btn btn--icon" onClick={props.onClose} aria-label={t('do.close')}>
          <Icon name="close" />
        </button>
      </div>
      <div class="sheet__body">{props.children}</div>
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function Sure(props: {
  title: string;
  hint: string;
  yes: string;
  onYes: () => void;
  onClose: () => void;
}) {
  return (
    <Sheet title={props.title} onClose={props.onClose}>
      <p class="muted">{props.hint}</p>
      <div class="row row--fill">
        <button type="button" class="btn btn--line" onClick={props.onClose}>
          {t('do.cancel')}
        </button>
        <button
          type="button"
          class="btn btn--danger"
          onClick={() => {
            props.onClose();
            props.onYes();
          }}
        >
          {props.yes}
        </button>
      </div>
    </Sheet>
  );
}

/** A labelled text field with its hint, or what is wrong with it. */
export function Field(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: string | undefined;
  error?: string | undefined;
  type?: 'text' | 'password' | 'search' | 'url';
  autocomplete?: string;
  placeholder?: string;
  maxLength?: number;
  rows?: number;
  /** Gets the focus when the dialog around it opens. */
  autofocus?: boolean;
  hideLabel?: boolean;
  code?: boolean;
  end?: ComponentChildren;
}) {
  const id = useId();
  const ref = useRef<HTMLInputElement & HTMLTextAreaElement>(null);
  useEffect(() => {
    if (props.error) ref.current?.focus();
  }, [props.error]);
  const described = [props.hint && `${id}-h`, props.error && `${id}-e`].filter(Boolean).join(' ');
  const common = {
    ref,
    id,
    class: 'input',
    value: props.value,
    placeholder: props.placeholder,
    maxLength: props.maxLength,
    'aria-invalid': props.error ? true : undefined,
    'aria-describedby': described || undefined,
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) => props.onInput(event.currentTarget.value),
    autocomplete: props.autocomplete ?? 'off',
    autofocus: props.autofocus,
    ...(props.code ? { spellcheck: false, autocapitalize: 'off' as const, dir: 'ltr' as const } : {}),
  };
  return (
    <div class="field">
      <label class={props.hideLabel ? 'sr' : 'field__label'} for={id}>
        {props.label}
      </label>
      <div class="input-group" dir={props.code ? 'ltr' : undefined}>
        {props.rows ? <textarea {...common} rows={props.rows} /> : <input {...common} {...({ type: props.type ?? 'text' } as { type: 'text' })} />}
        {props.end && <div class="input-group__end">{props.end}</div>}
      </div>
      {props.hint && (
        <p class="field__hint" id={`${id}-h`}>
          {props.hint}
        </p>
      )}
      {props.error && (
        <p class="field__error" id={`${id}-e`} role="alert">
          <Icon name="warn" size={18} />
          <span>{props.error}</span>
        </p>
      )}
    </div>
  );
}

/** A switch with its words. */
export function Switch(props: {
  label: string;
  hint?: string | undefined;
  on: boolean;
  disabled?: boolean;
  onChange: (on: boolean) => void;
}) {
  const id = useId();
  return (
    <label class="switch">
      <span class="switch__text">
        <span>{props.label}</span>
        {props.hint && (
          <span class="field__hint" id={id}>
            <br />
            {props.hint}
          </span>
        )}
      </span>
      <input
        type="checkbox"
        role="switch"
        checked={props.on}
        disabled={props.disabled}
        aria-describedby={props.hint ? id : undefined}
        aria-label={props.label}
        onChange={(event) => props.onChange(event.currentTarget.checked)}
      />
    </label>
  );
}

/** One of a few. */
export function Segmented<T extends string>(props: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  const name = useId();
  return (
    <fieldset class="segmented" aria-label={props.label}>
      {props.options.map(([value, label]) => (
        <label key={value}>
          <input
            type="radio"
            name={name}
            value={value}
            checked={value === props.value}
            onChange={() => props.onChange(value)}
          />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Something to know, in a coloured box. */
export function Note(props: {
  kind?: 'warn' | 'danger' | 'good';
  icon?: IconName;
  title?: string;
  live?: boolean;
  children?: ComponentChildren;
}) {
  return (
    <div class={props.kind ? `note note--${props.kind}` : 'note'} role={props.live ? 'status' : undefined}>
      <Icon name={props.icon ?? (props.kind === 'warn' || props.kind === 'danger' ? 'warn' : 'info')} size={22} />
      <div class="note__body">
        {props.title && <strong>{props.title}</strong>}
        {props.children}
      </div>
    </div>
  );
}

/** A list with nothing in it. */
export function Empty(props: { icon: IconName; title: string; hint: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <div class="empty__art">
        <Ripples icon={props.icon} />
      </div>
      <h2>{props.title}</h2>
      <p>{props.hint}</p>
      {props.children}
    </div>
  );
}

function Ripples({ icon }: { icon: IconName }) {
  return (
    <div class="ripples">
      <svg width="148" height="108" viewBox="0 0 148 108" fill="none" stroke="currentColor" stroke-linecap="round" aria-hidden="true">
        <path d="M42 78a40 40 0 0 1 0-48M106 30a40 40 0 0 1 0 48" stroke-width="2" stroke-opacity="0.55" />
        <path d="M28 90a60 60 0 0 1 0-72M120 18a60 60 0 0 1 0 72" stroke-width="2" stroke-opacity="0.3" />
        <path d="M14 100a80 80 0 0 1 0-92M134 8a80 80 0 0 1 0 92" stroke-width="2" stroke-opacity="0.14" />
      </svg>
      <Icon name={icon} size={36} />
    </div>
  );
}

const LOOKS: Readonly<Record<BasisWords['look'], IconName>> = { known: 'person', domain: 'globe', unknown: 'question' };

/** On what basis somebody is believed (TRU-1): in words, with an icon that is not a tick. */
export function BasisChip({ basis, known, proved = true }: { basis: Basis | undefined; known: boolean; proved?: boolean }) {
  const words = basisWords(basis, known, proved);
  return (
    <span class={`basis basis--${words.look}`}>
      <Icon name={LOOKS[words.look]} size={18} />
      <span>{words.text}</span>
    </span>
  );
}

/** Copies, and says so on the button itself. */
export function CopyButton(props: { text: string | undefined; label: string; class?: string; icon?: boolean }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    if (props.text === undefined) return;
    try {
      await navigator.clipboard.writeText(props.text);
      setCopied(true);
      setTimeout(() => setCopied(false), 2_000);
    } catch {
      toast(props.text);
    }
  };
  return (
    <button type="button" class={props.class ?? 'btn btn--line'} disabled={props.text === undefined} onClick={copy}>
      <Icon name="copy" size={20} />
      <span aria-live="polite">{copied ? t('do.copied') : props.label}</span>
    </button>
  );
}

/** Waiting, with words. */
export function Busy({ text }: { text: string }) {
  return (
    <p class="row muted" role="status">
      <span class="progress" aria-hidden="true" />
      {text}
    </p>
  );
}
