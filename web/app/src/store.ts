/**
 * The one state of the page, as signals, and everything that may be done to it. Views draw what is here and call what is here;
 * nothing else talks to the client.
 *
 * The client is loaded after the first face is drawn: it brings the WebAssembly module along, which that face does not need.
 */
import type {
  Call,
  CallId,
  Contact,
  Did,
  ErrorCode,
  HistoryEntry,
  Home,
  Located,
  MediaChoice,
  NodeAddress,
  Party,
  Phone,
  PhoneEvent,
  Policy,
  Presence,
  Profile,
  Request,
} from '@dsip/client';
import { batch, computed, effect, signal } from '@preact/signals';
import { isolate, t } from './i18n/index.ts';
import * as ringtone from './platform/ringtone.ts';
import * as worker from './platform/worker.ts';
import { prefer, prefs } from './prefs.ts';
import { go, route } from './route.ts';
import { errorWords, inSentence, named, partyOf } from './words.ts';

type Client = typeof import('@dsip/client');

/** How far the page has come. */
export type Stage =
  /** The home is being opened. */
  | { readonly is: 'opening' }
  /** Nobody lives here yet. */
  | { readonly is: 'welcome' }
  /** Somebody does; the phone may still be starting. */
  | { readonly is: 'phone' }
  /** Nothing can be done in this browser. */
  | { readonly is: 'broken'; readonly code: ErrorCode };

/** Something said at the edge of the screen for a while. */
export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly action: { readonly label: string; readonly run: () => void } | undefined;
}

export const stage = signal<Stage>(prefs.value.settled ? { is: 'opening' } : { is: 'welcome' });
export const profile = signal<Profile | undefined>(undefined);
export const presence = signal<Presence>({ state: 'connecting' });
/** Calls that are not over, as they stand: new ones after each change of any of them, see {@link standing}. */
export const calls = signal<readonly Call[]>([]);
/** The call that just ended, until its last picture is put away. */
export const lastCall = signal<Call | undefined>(undefined);
/** Why a call reached nobody, by its id. */
export const unreachable = signal<ReadonlyMap<string, string>>(new Map());
export const contacts = signal<readonly Contact[]>([]);
export const requests = signal<readonly Request[]>([]);
export const history = signal<readonly HistoryEntry[]>([]);
export const policy = signal<Policy>({ firstContact: true, doNotDisturb: false });
export const toasts = signal<readonly Toast[]>([]);
/** Said to screen readers alone. */
export const spoken = signal('');
/** Whether the call fills the screen, or waits as a bar above the rest. */
export const callOpen = signal(true);
/** My link, and the address of the page with it, once they are known. */
export const myLinks = signal<{ readonly link: string; readonly web: string } | undefined>(undefined);
/** Whom this session asked for permission, and what came of it. */
export const asked = signal<ReadonlyMap<Did, 'waiting' | 'granted' | 'refused'>>(new Map());

/** Calls that ring here. */
export const ringing = computed(() => calls.value.filter((call) => call.state === 'incoming'));
/** The call one is in, or is placing. */
export const current = computed(() => calls.value.find((call) => call.state !== 'incoming'));
/** How many lines of the history are missed and newer than the last look at it. */
export const missed = computed(
  () => history.value.filter((entry) => entry.missed && entry.endedAt > prefs.value.sawHistory).length,
);

let client: Client | undefined;
let home: Home | undefined;
let phone: Phone | undefined;
let starting: Promise<Phone> | undefined;
let opened: Promise<Home> | undefined;
const introduced = new Map<string, Did>();

/** The package, for views that need more of it than the store does. */
export async function library(): Promise<Client> {
  client ??= await import('@dsip/client');
  return client;
}

/** The home, opened at most once. */
export function openHome(): Promise<Home> {
  opened ??= library().then(async (lib) => {
    home = await lib.openHome();
    home.onProfile(settle);
    return home;
  });
  return opened;
}

/** The running phone; throws if there is none yet. */
export function running(): Phone {
  if (phone === undefined) throw new Error('the phone does not run yet');
  return phone;
}

/** The phone, once it runs: views are drawn before it does. */
export async function ready(): Promise<Phone> {
  return starting ?? running();
}

/** Begins: opens the home, and starts the phone if somebody lives here. */
export async function begin(): Promise<void> {
  try {
    const { profile: who } = await openHome();
    if (who?.identity === undefined) {
      prefer({ settled: false });
      stage.value = { is: 'welcome' };
    } else {
      settle(who);
      await start();
    }
  } catch (error) {
    stage.value = { is: 'broken', code: codeOf(error) };
  }
}

function settle(who: Profile | undefined): void {
  profile.value = who;
  if (who?.identity !== undefined && !prefs.value.settled) prefer({ settled: true });
}

/** Makes an identity, and starts. */
export async function create(name: string): Promise<void> {
  settle(await (await openHome()).create({ name }));
  await start();
}

/** Starts the phone of whoever lives here. */
export async function start(): Promise<void> {
  starting ??= startPhone();
  stage.value = { is: 'phone' };
  await starting;
  await Promise.all([refreshPeople(), refreshHistory(), refreshLinks()]);
}

async function startPhone(): Promise<Phone> {
  const lib = await library();
  const { node, publish, relayOnly } = prefs.value;
  const started = await lib.startPhone(await openHome(), {
    ...(node ? { node: addressOf(node) } : {}),
    publish,
    iceTransportPolicy: relayOnly ? 'relay' : 'all',
  });
  phone = started;
  started.onAny(hear);
  batch(() => {
    presence.value = started.presence;
    policy.value = started.policy;
    showCalls();
  });
  return started;
}

/** Stops and starts again: another node, another way of media. */
export async function restart(): Promise<void> {
  await phone?.stop();
  phone = undefined;
  starting = undefined;
  presence.value = { state: 'connecting' };
  await start();
}

/** `wss://host/dsip#did:key:…`, as the command line writes it, taken apart. */
export function addressOf(text: string): NodeAddress {
  const [uri = '', did] = text.split('#');
  return did ? { uri, did } : { uri };
}

async function refreshPeople(): Promise<void> {
  if (phone === undefined) return;
  const [people, waiting] = await Promise.all([phone.contacts(), phone.requests()]);
  batch(() => {
    contacts.value = people;
    requests.value = waiting;
    if (phone) policy.value = phone.policy;
  });
}

async function refreshHistory(): Promise<void> {
  if (phone) history.value = await phone.history({ limit: 200 });
}

async function refreshLinks(): Promise<void> {
  if (phone) myLinks.value = { link: await phone.myLink(), web: await phone.myWebLink() };
}

// -------------------------------------------------------------------------------------------------- what the phone tells --

const alerts = new Map<CallId, () => void>();

function hear(event: PhoneEvent): void {
  if (phone === undefined) return;
  switch (event.type) {
    case 'presence':
      presence.value = event.presence;
      if (event.presence.state === 'online') void refreshLinks();
      return;
    case 'incoming':
      alert(event.call, event.party);
      break;
    case 'outgoing':
      callOpen.value = true;
      break;
    case 'answered':
      say(t('call.state.talking'));
      break;
    case 'ended':
      quieten(event.call.id);
      over(event.call, event.missed);
      break;
    case 'unreachable':
      unreachable.value = new Map(unreachable.value).set(event.id, event.why);
      break;
    case 'tryAgain':
      toast(t('reason.session.glare'));
      break;
    case 'introduced': {
      void refreshPeople();
      const who = inSentence(named(event.party));
      const text = t('notify.request', { name: who });
      toast(text, { label: t('requests.title'), run: () => go({ at: 'requests' }) });
      return;
    }
    case 'granted':
      introductionAnswered(event.introduction, 'granted');
      return;
    case 'introductionRejected':
      introductionAnswered(event.introduction, 'refused');
      return;
    case 'contacts':
      void refreshPeople();
      return;
    case 'history':
      void refreshHistory();
      return;
    case 'trouble':
      toast(errorWords(event.code));
      return;
    default:
      break;
  }
  showCalls();
  for (const id of alerts.keys()) {
    if (phone.callOf(id)?.state !== 'incoming') quieten(id);
  }
}

const followed = new WeakSet<Call>();

/** Shows the calls as they stand, and again whenever one of them changes: its media do so without an event of the phone. */
function showCalls(): void {
  if (phone === undefined) return;
  for (const call of phone.calls) {
    if (followed.has(call)) continue;
    followed.add(call);
    call.onChange(showCalls);
  }
  calls.value = phone.calls.map(standing);
}

/**
 * A call as it stands now. The client's object is the same for the whole call, while signals and views tell by identity whether
 * something changed: to them each change is another object, through which the one call is reached.
 */
function standing(call: Call): Call {
  return new Proxy(call, {
    get(target, member) {
      const value: unknown = Reflect.get(target, member, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function introductionAnswered(introduction: string, outcome: 'granted' | 'refused'): void {
  const did = introduced.get(introduction);
  if (did === undefined) return;
  asked.value = new Map(asked.value).set(did, outcome);
  const name = inSentence(named({ identity: did, contactName: contactOf(did)?.name, claimedName: found.get(did)?.claimedName }));
  toast(
    t(outcome === 'granted' ? 'notify.granted' : 'notify.refused', { name }),
    outcome === 'granted' ? { label: t('to.call'), run: () => go({ at: 'to', target: did }) } : undefined,
  );
}

/** Rings, in one tab of all. */
function alert(call: Call, party: Party): void {
  callOpen.value = true;
  const who = inSentence(named(party));
  say(t(call.offersVideo ? 'ring.incoming.video' : 'ring.incoming', { name: who }));
  if (!running().shouldAlert(call.id)) return;
  // A second call while one talks is shown, and does not sound into the first.
  const stop = prefs.value.ringtone && current.value === undefined ? ringtone.ring(ringtone.INCOMING) : () => undefined;
  alerts.set(call.id, stop);
  if (prefs.value.notifications) {
    void worker.notify({
      title: t('ring.incoming', { name: who }),
      tag: call.id,
      call: { id: call.id, decline: t('ring.decline') },
    });
  }
}

function quieten(call: CallId): void {
  alerts.get(call)?.();
  if (alerts.delete(call)) void worker.unnotify(call);
}

function over(call: Call, wasMissed: boolean): void {
  const who = inSentence(named(partyOf(call, contactOf(call.identity))));
  if (wasMissed) {
    if (prefs.value.notifications) void worker.notify({ title: t('notify.missed', { name: who }), tag: `missed-${call.id}` });
    toast(t('notify.missed', { name: who }), { label: t('nav.recents'), run: () => go({ at: 'recents' }) });
    return;
  }
  const wasHere = call.isHere || call.direction === 'outgoing';
  if (!wasHere || call.reason === 'session.answered-elsewhere') return;
  say(t('call.over'));
  lastCall.value = call;
  if (call.answeredAt !== undefined) ringtone.chime();
}

/** Hears what the service worker passes on from a notification. */
export function hearWorker(says: worker.WorkerSays): void {
  if (says.say === 'decline') void attempt(phone?.callOf(says.call)?.decline() ?? Promise.resolve());
  else callOpen.value = true;
}

/** The caller's own ringing tone, while the other side's phone rings. */
export function soundOutgoing(): void {
  let stop: (() => void) | undefined;
  effect(() => {
    const rings = current.value?.direction === 'outgoing' && current.value.state === 'ringing' && current.value.isHere;
    if (rings && stop === undefined) stop = ringtone.ring(ringtone.OUTGOING);
    if (!rings) {
      stop?.();
      stop = undefined;
    }
  });
  effect(() => {
    const call = ringing.value[0];
    const name = call && named(partyOf(call, contactOf(call.identity))).name;
    const waiting = missed.value + requests.value.length;
    document.title = name ? t('ring.incoming', { name: isolate(name) }) : waiting > 0 ? `(${waiting}) DSIP` : 'DSIP';
  });
}

// ------------------------------------------------------------------------------------------------------ what a person does --

/** The entry of the address book. */
export function contactOf(identity: Did): Contact | undefined {
  return contacts.value.find((contact) => contact.identity === identity);
}

/** Who was found in this session: the way that a link showed must not be lost when they are called again by their DID alone. */
const found = new Map<Did, Located>();

/** Finds somebody by what was pasted, scanned or opened, or again. */
export async function locate(target: string): Promise<Located> {
  const who = await (await ready()).locate(target.trim());
  const before = found.get(who.did);
  const known = contactOf(who.did)?.places.map((address) => ({ address, source: 'link' as const })) ?? [];
  const places = [...who.places];
  for (const place of [...(before?.places ?? []), ...known]) {
    if (!places.some(({ address }) => address.uri === place.address.uri)) places.push(place);
  }
  const alias = who.alias ? who : before;
  const all = { ...who, places, alias: alias?.alias, aliasBy: alias?.aliasBy, claimedName: who.claimedName ?? before?.claimedName };
  found.set(who.did, all);
  return all;
}

/** Calls. What cannot be done is said, with a way on where there is one. */
export async function call(whom: Located | Did, media: MediaChoice): Promise<void> {
  lastCall.value = undefined;
  callOpen.value = true;
  try {
    await (await ready()).call(typeof whom === 'string' ? await locate(whom) : whom, media);
  } catch (error) {
    const code = codeOf(error);
    if (code.startsWith('camera-') && media.video) {
      toast(errorWords(code), { label: t('ring.answer.audio'), run: () => void call(whom, { ...media, video: false }) });
    } else if (code.startsWith('microphone-') && media.audio !== false) {
      microphoneTrouble.value = { code, listen: () => void call(whom, { audio: false, video: false }) };
    } else {
      toast(errorWords(code));
    }
  }
}

/** The microphone could not be had: what to do about it fills a dialog, since a call hangs on it. */
export const microphoneTrouble = signal<{ readonly code: ErrorCode; readonly listen: () => void } | undefined>(undefined);

/** Answers. One call at a time: whoever was talked to is put on hold by hanging up, as asked on the screen. */
export async function accept(ringingCall: Call, media: MediaChoice): Promise<void> {
  callOpen.value = true;
  lastCall.value = undefined;
  try {
    await ringingCall.accept(media);
  } catch (error) {
    const code = codeOf(error);
    if (code.startsWith('camera-') && media.video) {
      toast(errorWords(code));
      await accept(ringingCall, { ...media, video: false });
    } else if (code.startsWith('microphone-') && media.audio !== false) {
      microphoneTrouble.value = { code, listen: () => void accept(ringingCall, { audio: false, video: false }) };
    } else {
      toast(errorWords(code));
    }
  }
}

/** Asks somebody to be let in. */
export async function introduce(whom: Located, purpose: string, contactToken: string): Promise<void> {
  const id = await (await ready()).introduce(whom, {
    ...(purpose ? { purpose } : {}),
    ...(contactToken ? { contactToken } : {}),
  });
  introduced.set(id, whom.did);
  asked.value = new Map(asked.value).set(whom.did, 'waiting');
}

/** Forgets everything, and begins anew. */
export async function erase(): Promise<void> {
  await phone?.stop();
  phone = undefined;
  await (await openHome()).erase();
  prefer({ settled: false });
  location.replace('./');
}

// ------------------------------------------------------------------------------------------------------------------ saying --

let lastToast = 0;

/** Says something at the edge of the screen; with something to press it stays longer. */
export function toast(text: string, action?: Toast['action']): void {
  const id = ++lastToast;
  toasts.value = [...toasts.value.slice(-2), { id, text, action }];
  setTimeout(() => dismiss(id), action ? 12_000 : 6_000);
}

/** Puts a toast away. */
export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

/** Says something to screen readers. */
export function say(text: string): void {
  spoken.value = '';
  setTimeout(() => {
    spoken.value = text;
  }, 50);
}

/** The code of an error; what is not the package's is a fault. */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof Error && error.name === 'DsipError') return (error as Error & { code: ErrorCode }).code;
  console.error(error);
  return 'internal';
}

/** Does something that may fail, and says so if it does. Whether it was done. */
export async function attempt(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    toast(errorWords(codeOf(error)));
    return false;
  }
}

/** One was in the list of recent calls: what was missed is seen. */
export function sawHistory(): void {
  if (route.value.at === 'recents') prefer({ sawHistory: Date.now() });
}
