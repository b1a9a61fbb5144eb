import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { HistoryEntry } from '@dsip/client';
import { de } from '../src/i18n/de.ts';
import { en } from '../src/i18n/en.ts';
import { choose, fill, isolate } from '../src/i18n/index.ts';
import { DEFAULTS, parse } from '../src/prefs.ts';
import { read, write } from '../src/route.ts';
import { draw } from '../src/ui/qr.tsx';
import { initial, rings } from '../src/ui/avatar.tsx';
import { difference } from '../src/views/text.tsx';
import { clock, day, startOfDay } from '../src/when.ts';
import { answeredByWords, basisOf, basisWords, named, outcome, reasonWords, shortDid } from '../src/words.ts';

beforeEach(() => {
  vi.stubGlobal('navigator', { languages: ['en-GB'] });
});

const alice = 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK';

function entry(over: Partial<HistoryEntry>): HistoryEntry {
  return {
    call: '01J',
    direction: 'incoming',
    identity: alice,
    claimedName: undefined,
    contactName: undefined,
    startedAt: 0,
    answeredAt: undefined,
    endedAt: 1,
    reason: 'user.hangup',
    missed: false,
    video: false,
    ...over,
  };
}

describe('names', () => {
  it('a claim turns nothing around it, and one of nothing is none', () => {
    expect(named({ identity: alice, claimedName: 'Free\u202e seziP\u0007' })).toEqual({ name: 'Free seziP', claimed: true });
    expect(named({ identity: alice, claimedName: '\u202e ' })).toEqual({ name: shortDid(alice), claimed: false });
  });

  it('the owner’s word goes before the claim, the claim before the key', () => {
    expect(named({ identity: alice, contactName: 'Ali', claimedName: 'Alice' })).toEqual({ name: 'Ali', claimed: false });
    expect(named({ identity: alice, claimedName: 'Alice' })).toEqual({ name: 'Alice', claimed: true });
    expect(named({ identity: alice }).name).toBe('z6MkhaXgBZ…ta2doK');
  });

  it('a short DID keeps both ends, and survives escapes that are none', () => {
    expect(shortDid('did:web:example.com%3A8443')).toBe('example.com:8443');
    expect(shortDid('did:web:%')).toBe('%');
  });

  it('an initial is a letter or nothing', () => {
    expect(initial('  mara')).toBe('M');
    expect(initial('')).toBe('');
    expect(initial('<b>')).toBe('');
    expect(initial('Ünal')).toBe('Ü');
  });

  it('rings are the same for one DID, and others for another', () => {
    expect(rings(alice)).toEqual(rings(alice));
    expect(rings(alice)).not.toEqual(rings(`${alice}x`));
    expect(() => rings('')).not.toThrow();
  });
});

describe('the basis of trust', () => {
  it('tru_1_is_words_and_a_look_never_a_tick', () => {
    expect(basisWords(basisOf(alice), false)).toEqual({ look: 'unknown', text: en['basis.self'] });
    expect(basisWords(basisOf(alice), true)).toEqual({ look: 'known', text: en['basis.self.contact'] });
    const domain = basisWords(basisOf('did:web:clinic.example:desk'), false);
    expect(domain.look).toBe('domain');
    expect(domain.text).toContain('clinic.example');
    for (const text of Object.values(en)) expect(text).not.toMatch(/[✓✔☑✅]/u);
  });

  it('a domain is not called verified before anybody has signed', () => {
    expect(basisWords(basisOf('did:web:clinic.example'), false, false)).toEqual({ look: 'domain', text: 'Rests on the domain \u2068clinic.example\u2069' });
  });

  it('a gateway’s word does not make anybody known', () => {
    const basis = { kind: 'gateway', domain: undefined, text: 'Gateway attested by pstn.example · no attestation' } as const;
    expect(basisWords(basis, true).look).toBe('unknown');
  });

  it('tru_10_whoever_is_not_a_user_is_said_to_be_none', () => {
    expect(answeredByWords('user')).toBeUndefined();
    expect(answeredByWords('service')).toBe(en['call.by.service']);
    expect(answeredByWords('something-new')).toBe(en['call.by.other']);
  });
});

describe('how calls end', () => {
  it('missed is only what the client says was missed', () => {
    expect(outcome(entry({ missed: true, reason: 'session.timeout' }))).toBe('missed');
    expect(outcome(entry({ reason: 'session.answered-elsewhere' }))).toBe('elsewhere');
    expect(outcome(entry({ reason: 'user.declined' }))).toBe('declined');
    expect(outcome(entry({ direction: 'outgoing', reason: 'endpoint.busy' }))).toBe('busy');
    expect(outcome(entry({ direction: 'outgoing', reason: 'user.declined' }))).toBe('refused');
    expect(outcome(entry({ direction: 'outgoing', answeredAt: 1 }))).toBe('outgoing');
    expect(outcome(entry({ direction: 'outgoing', reason: 'transport.unknown-recipient' }))).toBe('failed');
  });

  it('a reason has its own words, or its category’s, or at least is named', () => {
    expect(reasonWords('endpoint.busy', 'x')).toBe(en['reason.endpoint.busy']);
    expect(reasonWords('policy.trust-insufficient', 'x')).toBe(en['reason.policy']);
    expect(reasonWords('brand.new', 'x')).toContain('brand.new');
  });
});

describe('the address', () => {
  it('wph_22_wph_23_a_link_is_somebody_to_look_at', () => {
    expect(read('#dsip:did:key:z6Mk?name=Bob')).toEqual({ at: 'to', target: 'dsip:did:key:z6Mk?name=Bob' });
    expect(read('#DSIP:did:key:z6Mk')).toEqual({ at: 'to', target: 'DSIP:did:key:z6Mk' });
    expect(read('#dsip%3Adid%3Akey%3Az6Mk')).toEqual({ at: 'to', target: 'dsip:did:key:z6Mk' });
  });

  it('what makes no sense is home', () => {
    for (const fragment of ['', '#', '#/', '#/nowhere', '#/to/', '#/to/%E0%A4%A', '#something']) expect(read(fragment)).toEqual({ at: 'home' });
    expect(read('#/settings/nothing')).toEqual({ at: 'settings', section: undefined });
  });

  it('reads what it wrote', () => {
    for (const to of [
      { at: 'to', target: 'dsip:did:key:z6Mk?name=A/B&node=wss%3A%2F%2Fx' },
      { at: 'ask', target: 'did:web:example.com' },
      { at: 'person', did: 'did:web:example.com:a%2Fb' },
      { at: 'settings', section: 'keys' },
      { at: 'requests' },
    ] as const) {
      expect(read(write(to))).toEqual(to);
    }
  });
});

describe('words', () => {
  it('each catalogue fills in the same things', () => {
    for (const [key, text] of Object.entries(en)) {
      const wanted = text.match(/\{\w+\}/g)?.sort() ?? [];
      expect(de[key as keyof typeof de].match(/\{\w+\}/g)?.sort() ?? [], key).toEqual(wanted);
    }
  });

  it('a name cannot fill in anything, nor leave its isolate', () => {
    expect(fill('{name} calls', { name: '{other}' })).toBe('{other} calls');
    expect(isolate('a\u202Eb\u2069c\nd')).toBe('\u2068abcd\u2069');
  });

  it('the first language that is known is spoken', () => {
    expect(choose(['fr-FR', 'de-AT', 'en'])).toBe('de');
    expect(choose(['fr'])).toBe('en');
    expect(choose([])).toBe('en');
  });
});

describe('times', () => {
  it('count', () => {
    expect(clock(7_900)).toBe('0:07');
    expect(clock(754_000)).toBe('12:34');
    expect(clock(3_723_000)).toBe('1:02:03');
    expect(clock(-5)).toBe('0:00');
  });

  it('today begins at midnight', () => {
    const now = new Date(2026, 10, 30, 0, 5).getTime();
    expect(day(now - 10 * 60_000, now)).toBe(en['recents.yesterday']);
    expect(day(startOfDay(now), now)).toBe(en['recents.today']);
  });
});

describe('what was stored', () => {
  it('is taken only where it fits', () => {
    expect(parse(null)).toEqual(DEFAULTS);
    expect(parse('{')).toEqual(DEFAULTS);
    expect(parse('null')).toEqual(DEFAULTS);
    expect(parse('{"theme":"pink","ringtone":"yes","node":7,"language":"de"}')).toEqual({ ...DEFAULTS, language: 'de' });
  });
});

describe('real-time text', () => {
  it('goes from one text to another by steps back and letters', () => {
    expect(difference('', 'hi')).toBe('hi');
    expect(difference('hello', 'help')).toBe('\b\bp');
    expect(difference('abc', '')).toBe('\b\b\b');
    expect(difference('a😀b', 'a😀c')).toBe('\bc');
    expect(difference('same', 'same')).toBe('');
  });
});

describe('a QR code', () => {
  it('is drawn as runs, with a margin of four', () => {
    expect(draw(2, Uint8Array.from([1, 1, 0, 1]))).toBe('M4 4h2v1h-2zM5 5h1v1h-1z');
  });
});
