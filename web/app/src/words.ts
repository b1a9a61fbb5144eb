/**
 * What the protocol says in tokens, said in words: why a call ended, on what basis somebody is believed, what a line of the
 * history means. Decides nothing.
 */
import type { Basis, CallState, Contact, Did, ErrorCode, HistoryEntry, Party, Quality } from '@dsip/client';
import { isolate, type Key, knows, plain, t } from './i18n/index.ts';

/** Who somebody is to the reader. */
export interface Named {
  /** What stands where a name stands. */
  readonly name: string;
  /** Whether that is only what they say themselves. */
  readonly claimed: boolean;
}

/** The name to show: the owner's own word for them, else what they claim, else a short form of the DID. */
export function named(who: {
  readonly identity: Did;
  readonly contactName?: string | undefined;
  readonly claimedName?: string | undefined;
}): Named {
  if (who.contactName) return { name: who.contactName, claimed: false };
  const claim = plain(who.claimedName ?? '').trim();
  if (claim) return { name: claim, claimed: true };
  return { name: shortDid(who.identity), claimed: false };
}

/** The name as part of a sentence: a claim stands in quotation marks. */
export function inSentence(who: Named): string {
  return who.claimed ? t('basis.claimed', { name: isolate(who.name) }) : isolate(who.name);
}

/** A DID that fits a line: its beginning and its end. Enough to tell two apart, not to verify one. */
export function shortDid(did: Did): string {
  const rest = did.replace(/^did:key:/, '').replace(/^did:web:/, '');
  const text = did.startsWith('did:key:') ? rest : decodeSafely(rest);
  return text.length <= 22 ? text : `${text.slice(0, 10)}…${text.slice(-6)}`;
}

function decodeSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** What a person is shown about why somebody is believed (TRU-1): words and a kind of look, never a tick. */
export interface BasisWords {
  readonly look: 'known' | 'domain' | 'unknown';
  readonly text: string;
}

/**
 * The basis in words. In the address book is the owner's own doing; a domain is a third party's; otherwise a bare key. While
 * nobody has signed anything, a domain has not been `proved` either.
 */
export function basisWords(basis: Basis | undefined, known: boolean, proved = true): BasisWords {
  if (basis?.kind === 'domain' && basis.domain !== undefined) {
    const text = t(proved ? 'basis.domain' : 'basis.domain.unproved', { domain: isolate(basis.domain) });
    return { look: known ? 'known' : 'domain', text };
  }
  if (basis?.kind === 'gateway') {
    return { look: 'unknown', text: t('basis.gateway', { text: isolate(basis.text) }) };
  }
  if (basis?.kind === 'other') {
    return { look: known ? 'known' : 'unknown', text: t('basis.other', { text: isolate(basis.text) }) };
  }
  return known ? { look: 'known', text: t('basis.self.contact') } : { look: 'unknown', text: t('basis.self') };
}

/** The basis that a DID alone gives, before anybody has signed anything (TRU-2). */
export function basisOf(did: Did): Basis {
  if (did.startsWith('did:web:')) {
    const domain = decodeSafely(did.slice('did:web:'.length).split(':')[0] ?? '');
    return { kind: 'domain', domain, text: `Domain verified (${did})` };
  }
  if (did.startsWith('did:key:')) return { kind: 'self-asserted', domain: undefined, text: 'Self-issued identity' };
  return { kind: 'other', domain: undefined, text: 'Unrecognized identity method' };
}

/** The words for an error code. */
export function errorWords(code: ErrorCode): string {
  return t(`error.${code}`);
}

/** Why a call ended, for whoever looks at it afterwards. */
export function reasonWords(reason: string, who: string): string {
  const exact = `reason.${reason}`;
  if (knows(exact)) return t(exact);
  const category = `reason.${reason.split('.')[0]}`;
  if (knows(category)) return t(category);
  return t('reason.other', { reason: isolate(reason), name: who });
}

/** Where an unfinished call stands. */
export function stateWords(state: CallState): string {
  return t(`call.state.${state}`);
}

/** Who answered, if not a person (ANS-3, TRU-10): an unknown token is not a person either. */
export function answeredByWords(by: string | undefined): string | undefined {
  switch (by) {
    case undefined:
    case 'user':
    case 'screening':
      return undefined;
    case 'service':
      return t('call.by.service');
    case 'gateway':
      return t('call.by.gateway');
    case 'voicemail':
      return t('call.by.voicemail');
    default:
      return t('call.by.other');
  }
}

/** What became of a call in the history. */
export type Outcome = 'missed' | 'incoming' | 'outgoing' | 'declined' | 'elsewhere' | 'unanswered' | 'busy' | 'refused' | 'failed';

/** What became of a call. Missed is only what the client says was missed: it rang here, and nobody answered anywhere. */
export function outcome(entry: HistoryEntry): Outcome {
  if (entry.missed) return 'missed';
  if (entry.answeredAt !== undefined) return entry.direction;
  if (entry.reason === 'session.answered-elsewhere') return 'elsewhere';
  if (entry.direction === 'incoming') return entry.reason === 'user.declined' ? 'declined' : 'incoming';
  switch (entry.reason) {
    case 'user.declined':
    case 'user.blocked':
      return 'refused';
    case 'endpoint.busy':
      return 'busy';
    case 'user.no-answer':
    case 'session.timeout':
    case 'user.cancelled':
      return 'unanswered';
    default:
      return 'failed';
  }
}

/** The line under the name. */
export function outcomeWords(of: Outcome): string {
  return t(`recents.${of}` as Key);
}

/** How good the connection is, with the reason when it is not. */
export function qualityWords(quality: Quality): string {
  const level = t(`quality.${quality.level}`);
  if (quality.level === 'good' || quality.reason === undefined) return level;
  return t('quality.line', { level, why: t(`quality.why.${quality.reason}`) });
}

/** A contact as a party of the lists. */
export function contactNamed(contact: Contact): Named {
  return named({ identity: contact.identity, contactName: contact.name });
}

/** The party of a call, or what is known before anybody answered. */
export function partyOf(call: { readonly party: Party | undefined; readonly identity: Did; readonly claimedName: string | undefined }, contact: Contact | undefined): Party {
  return (
    call.party ?? {
      identity: call.identity,
      device: call.identity,
      claimedName: call.claimedName,
      contactName: contact?.name,
      known: contact !== undefined,
      basis: basisOf(call.identity),
    }
  );
}
