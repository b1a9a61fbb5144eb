/** Moments and durations in the reader's language. */
import { locale, t, tag } from './i18n/index.ts';

/** `0:07`, `12:34`, `1:02:03`. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Midnight at the beginning of a moment's day, local time. */
export function startOfDay(at: number): number {
  const day = new Date(at);
  day.setHours(0, 0, 0, 0);
  return day.getTime();
}

/** The heading of a day in a list. */
export function day(at: number, now: number): string {
  const days = Math.round((startOfDay(now) - startOfDay(at)) / 86_400_000);
  if (days === 0) return t('recents.today');
  if (days === 1) return t('recents.yesterday');
  const options: Intl.DateTimeFormatOptions =
    days < 7 ? { weekday: 'long' } : { day: 'numeric', month: 'long', ...(days > 300 ? { year: 'numeric' } : {}) };
  return new Intl.DateTimeFormat(tag(locale.value), options).format(at);
}

/** The time of the day. */
export function time(at: number): string {
  return new Intl.DateTimeFormat(tag(locale.value), { hour: '2-digit', minute: '2-digit' }).format(at);
}

/** A date alone. */
export function date(at: number): string {
  return new Intl.DateTimeFormat(tag(locale.value), { dateStyle: 'long' }).format(at);
}

/** Day and time, as short as it is clear. */
export function moment(at: number, now: number): string {
  return startOfDay(at) === startOfDay(now) ? time(at) : `${day(at, now)}, ${time(at)}`;
}
