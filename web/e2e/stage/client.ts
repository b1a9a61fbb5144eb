/**
 * A stage: the surface of `@dsip/client` with scenery behind it instead of a protocol, so that every face of the page, also one
 * that takes an hour or a broken network to come about, can be looked at and checked by axe. What it shows proves nothing about
 * calls; those tests run the real package against real nodes. Chosen at build time by `DSIP_CLIENT`; never in a bundle we ship.
 *
 * `?scene=NAME` picks the scenery.
 */
import encodeQR from 'qr';
import type {
  Call,
  CallMedia,
  Contact,
  DevicesOf,
  HistoryEntry,
  Home,
  MakeQrCode,
  OpenHome,
  ParseLink,
  Party,
  Phone,
  PhoneEvent,
  Presence,
  Profile,
  Quality,
  RealTimeText,
  Request,
  StartPhone,
} from '../../client/src/types.ts';

export type * from '../../client/src/types.ts';

const scene = new URLSearchParams(location.search).get('scene') ?? 'first';
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const me = 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK';
const people = {
  nadia: 'did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH',
  tomas: 'did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG',
  ines: 'did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf',
  clinic: 'did:web:clinic.example',
  yusuf: 'did:key:z6MkwXXrqYPdiTwxAVhbc3cRN5iGYSHmqVxQkAPmJjDYQLnP',
  stranger: 'did:key:z6MkfrQkqWqbVjJVKGNGyKyLsbXzQfFmfTTzQ2rXn2qWgDcY',
} as const;

class DsipError extends Error {
  override readonly name = 'DsipError';
  constructor(readonly code: string) {
    super(code);
  }
}

const profile: Profile = {
  identity: me,
  device: 'did:key:z6MkrCD1csqtgdj8sjrsu8jxcbeyP6m7LiK87NzhfWqio5yr',
  name: 'Mara Lindqvist',
  hasIdentityKey: true,
  protection: { device: 'non-extractable', identity: scene === 'guarded' ? 'passphrase' : 'browser', persistent: scene !== 'volatile' },
  delegatedUntil: Date.now() + 300 * 24 * HOUR,
};

const noon = new Date();
noon.setHours(12, 14, 0, 0);
const base = Math.min(noon.getTime(), Date.now() - 5 * MINUTE);

const contacts: Contact[] =
  scene === 'first' || scene === 'empty'
    ? []
    : [
        { identity: people.nadia, name: 'Nadia Okafor', allowed: true, blocked: false, places: [], addedAt: base },
        { identity: people.tomas, name: 'Tomás Herrera', allowed: true, blocked: false, places: [], addedAt: base },
        { identity: people.ines, name: 'Inês', allowed: true, blocked: false, places: [], addedAt: base },
        { identity: people.clinic, name: 'Riverside Clinic', allowed: true, blocked: false, places: [], addedAt: base },
        { identity: people.stranger, name: 'Free Prizes Ltd', allowed: false, blocked: true, places: [], addedAt: base },
      ];

let requests: Request[] =
  scene === 'first' || scene === 'empty'
    ? []
    : [
        {
          introduction: '01J0000000000000000000000A',
          identity: people.yusuf,
          claimedName: 'Yusuf Demir',
          purpose: 'We met at the allotment gardens on Sunday. I have the seeds I promised you!',
          at: base - 40 * MINUTE,
        },
        {
          introduction: '01J0000000000000000000000B',
          identity: 'did:key:z6MkuBLrjSGt1PPADAvuv6rmvj4FfSAfffJotC6K8ZEorYmv',
          claimedName: '<b>Free</b> Prizes\u202E dtL',
          purpose: undefined,
          at: base - 26 * HOUR,
        },
      ];

function entry(id: string, who: string, ago: number, over: Partial<HistoryEntry>): HistoryEntry {
  return {
    call: id,
    direction: 'incoming',
    identity: who,
    claimedName: undefined,
    contactName: undefined,
    startedAt: base - ago,
    answeredAt: base - ago + 8_000,
    endedAt: base - ago + 8_000 + 312_000,
    reason: 'user.hangup',
    missed: false,
    video: false,
    ...over,
  };
}

let history: HistoryEntry[] =
  scene === 'first' || scene === 'empty'
    ? []
    : [
        entry('h1', people.nadia, 20 * MINUTE, { direction: 'outgoing' }),
        entry('h2', people.ines, 2 * HOUR, { answeredAt: undefined, missed: true, reason: 'session.timeout', endedAt: base - 2 * HOUR }),
        entry('h3', people.clinic, 3 * HOUR, {}),
        entry('h4', people.tomas, 27 * HOUR, { direction: 'outgoing', answeredAt: undefined, reason: 'endpoint.busy' }),
        entry('h5', people.nadia, 30 * HOUR, { answeredAt: undefined, reason: 'session.answered-elsewhere' }),
        entry('h6', people.yusuf, 76 * HOUR, { direction: 'outgoing', answeredAt: undefined, reason: 'user.declined', claimedName: 'Yusuf Demir' }),
      ];

function party(who: string, claimedName: string | undefined): Party {
  const contact = contacts.find((each) => each.identity === who);
  return {
    identity: who,
    device: 'did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf',
    claimedName,
    contactName: contact?.name,
    known: contact !== undefined,
    basis: who.startsWith('did:web:')
      ? { kind: 'domain', domain: 'clinic.example', text: 'Domain verified (did:web:clinic.example)' }
      : { kind: 'self-asserted', domain: undefined, text: 'Self-issued identity' },
  };
}

/** A moving picture to stand for a person: soft light, a head, shoulders. */
function picture(hue: number, width: number, height: number, kind: 'person' | 'screen' = 'person'): MediaStream {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const draw = canvas.getContext('2d');
  const paint = (at: number) => {
    if (!draw) return;
    const light = draw.createLinearGradient(0, 0, width, height);
    light.addColorStop(0, `hsl(${hue} 34% 74%)`);
    light.addColorStop(1, `hsl(${hue + 40} 30% 40%)`);
    draw.fillStyle = light;
    draw.fillRect(0, 0, width, height);
    if (kind === 'screen') {
      draw.fillStyle = '#fbfaf7';
      draw.fillRect(width * 0.08, height * 0.08, width * 0.84, height * 0.84);
      draw.fillStyle = '#33515a';
      for (let i = 0; i < 9; i++) draw.fillRect(width * 0.14, height * (0.18 + i * 0.08), width * (0.3 + ((i * 37) % 40) / 100), height * 0.025);
      return;
    }
    const sway = Math.sin(at / 900) * width * 0.008;
    const x = width / 2 + sway;
    draw.fillStyle = `hsl(${hue + 190} 26% 32%)`;
    draw.beginPath();
    draw.ellipse(x, height * 1.02, Math.min(width, height) * 0.42, height * 0.36, 0, 0, 7);
    draw.fill();
    draw.fillStyle = `hsl(${24 + (hue % 12)} 44% 62%)`;
    draw.beginPath();
    draw.ellipse(x, height * 0.46, Math.min(width, height) * 0.17, Math.min(width, height) * 0.22, 0, 0, 7);
    draw.fill();
    draw.fillStyle = `hsl(${hue} 30% 18%)`;
    draw.beginPath();
    draw.ellipse(x, height * 0.36, Math.min(width, height) * 0.19, Math.min(width, height) * 0.16, 0, Math.PI, 7);
    draw.fill();
  };
  paint(0);
  setInterval(() => paint(performance.now()), 66);
  return canvas.captureStream(15);
}

interface Setting {
  readonly id?: string;
  readonly who: string;
  readonly claimed?: string | undefined;
  readonly state: Call['state'];
  readonly incoming?: boolean;
  readonly video?: boolean;
  readonly theirScreen?: boolean;
  readonly quality?: Partial<Quality>;
  readonly over?: Partial<{ -readonly [K in keyof Call]: Call[K] }>;
}

class Cast {
  constructor(readonly setting: Setting) {}
}

class StageCall extends Cast {
  constructor(setting: Setting) {
    super(setting);
    Object.assign(this, setting.over);
  }
  readonly id = this.setting.id ?? '01J00000000000000000000CALL';
  readonly direction = this.setting.incoming ? 'incoming' : 'outgoing';
  state = this.setting.state;
  readonly identity = this.setting.who;
  readonly party = party(this.setting.who, this.setting.claimed);
  readonly claimedName = this.setting.claimed;
  answeredBy: string | undefined = 'user';
  screening: Call['screening'] = 'none';
  readonly startedAt = Date.now() - 140_000;
  answeredAt: number | undefined = this.setting.state === 'talking' ? Date.now() - 127_000 : undefined;
  endedAt: number | undefined;
  reason: string | undefined;
  missed = false;
  isHere = true;
  offersVideo = this.setting.video ?? false;
  pendingUpdate: Call['pendingUpdate'];
  held = false;
  heldByPeer = false;
  muted = false;
  readonly media: CallMedia = {
    local: this.setting.video ? picture(200, 480, 640) : new MediaStream(),
    remote: this.setting.video ? picture(28, innerWidth < 720 ? 720 : 1280, innerWidth < 720 ? 1280 : 800) : new MediaStream(),
    remoteScreen: this.setting.theirScreen ? picture(210, 1280, 800, 'screen') : new MediaStream(),
    localScreen: new MediaStream(),
    audio: 'sendrecv',
    video: this.setting.video ? 'sendrecv' : 'inactive',
    screen: this.setting.theirScreen ? 'recvonly' : 'inactive',
    quality: {
      mos: 4.3,
      level: 'good',
      reason: undefined,
      roundTripMs: 38,
      jitterMs: 4,
      loss: 0.001,
      bitsPerSecondIn: 48_000,
      bitsPerSecondOut: 46_000,
      levelIn: 0.4,
      levelOut: 0.3,
      video: this.setting.video ? { width: 1280, height: 720, framesPerSecond: 30, framesDecoded: 3_800 } : undefined,
      codecs: ['opus', ...(this.setting.video ? ['VP8'] : [])],
      path: 'direct',
      ...this.setting.quality,
    },
  };
  readonly security = {
    remoteFingerprint: 'sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:F2:1A:0E:91:44:63:BB:AD:90:1C:5E:07',
    localFingerprint: 'sha-256 9C:01:77:F0:52:4B:2D:E1:88:36:A9:14:C0:7B:62:DF:35:6E:48:90:BE:21:D7:5A:03:EF:99:C4:12:6D:B8:71',
    dtls: 'DTLS 1.2',
    srtp: 'AEAD_AES_128_GCM',
  };
  readonly text: RealTimeText = new StageText();
  readonly #listeners = new Set<(call: Call) => void>();

  onChange(listener: (call: Call) => void) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  #changed() {
    for (const listener of this.#listeners) listener(this);
    stage.tell({ type: 'call', call: this });
  }
  async accept() {
    this.state = 'talking';
    this.answeredAt = Date.now();
    this.#changed();
  }
  async screen() {
    this.screening = 'we-screen';
    await this.accept();
  }
  async takeOver() {
    this.screening = 'none';
    this.#changed();
  }
  decline() {
    return this.#end('user.declined');
  }
  hangUp() {
    return this.#end('user.hangup');
  }
  async #end(reason: string) {
    this.state = 'ended';
    this.endedAt = Date.now();
    this.reason = reason;
    stage.calls = stage.calls.filter((call) => call !== this);
    stage.tell({ type: 'ended', call: this, reason, side: 'us', missed: false });
  }
  async hold(held: boolean) {
    this.held = held;
    this.#changed();
  }
  async setCamera() {
    this.#changed();
  }
  async shareScreen() {
    if (scene === 'noscreen') throw new DsipError('screen-denied');
    this.#changed();
  }
  setMuted(muted: boolean) {
    this.muted = muted;
    this.#changed();
  }
  async useDevice() {}
}

class StageText implements RealTimeText {
  lines: { from: 'us' | 'peer'; text: string; finished: boolean }[] =
    scene === 'text'
      ? [
          { from: 'peer', text: 'The train is loud, can we write?', finished: true },
          { from: 'us', text: 'Of course. Platform 7?', finished: true },
          { from: 'peer', text: 'Yes. Ticket is QX4-77-', finished: false },
        ]
      : scene === 'captions'
        ? [{ from: 'peer', text: 'Can you see the chart on page two?', finished: false }]
        : [];
  readonly #listeners = new Set<() => void>();
  send(text: string) {
    let line = this.lines.findLast((each) => each.from === 'us' && !each.finished);
    for (const letter of text) {
      if (!line) {
        line = { from: 'us', text: '', finished: false };
        this.lines = [...this.lines, line];
      }
      if (letter === '\n') line.finished = true;
      else if (letter === '\b') line.text = line.text.slice(0, -1);
      else line.text += letter;
    }
    for (const listener of this.#listeners) listener();
  }
  onChange(listener: () => void) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const CALLS: Readonly<Record<string, Setting>> = {
  outgoing: { who: people.tomas, state: 'ringing' },
  incoming: { who: people.nadia, state: 'incoming', incoming: true },
  'incoming-video': { who: people.clinic, state: 'incoming', incoming: true, video: true },
  'incoming-unknown': { who: people.yusuf, claimed: 'Yusuf Demir', state: 'incoming', incoming: true },
  talking: { who: people.nadia, state: 'talking' },
  poor: {
    who: people.nadia,
    state: 'talking',
    quality: { level: 'poor', reason: 'loss', mos: 2.3, loss: 0.09, path: 'relayed' },
    over: { muted: true },
  },
  noscreen: { who: people.nadia, state: 'talking' },
  video: { who: people.ines, state: 'talking', video: true },
  screen: { who: people.ines, state: 'talking', video: true, theirScreen: true },
  captions: { who: people.ines, state: 'talking', video: true },
  text: { who: people.nadia, state: 'talking' },
  screened: { who: people.clinic, state: 'talking', over: { screening: 'we-are-screened', answeredBy: 'screening' } },
  screening: { who: people.yusuf, claimed: 'Yusuf Demir', state: 'talking', incoming: true, over: { screening: 'we-screen' } },
  held: { who: people.nadia, state: 'talking', over: { held: true } },
  service: { who: people.clinic, state: 'talking', over: { answeredBy: 'service' } },
  elsewhere: { who: people.nadia, state: 'talking', over: { isHere: false } },
  wants: { who: people.nadia, state: 'talking', over: { pendingUpdate: { wantsVideo: true, accept: async () => {}, reject: async () => {} } } },
  waiting: { who: people.nadia, state: 'talking' },
};

const stage = {
  calls: [] as Call[],
  listeners: new Set<(event: PhoneEvent) => void>(),
  tell(event: PhoneEvent) {
    for (const listener of this.listeners) listener(event);
  },
};

const PRESENCE: Readonly<Record<string, Presence>> = {
  connecting: { state: 'connecting' },
  unreachable: { state: 'offline', why: 'connection refused', code: 'node-unreachable' },
  clock: { state: 'offline', why: 'replay-window', code: 'clock-wrong' },
  refused: { state: 'offline', why: 'transport.hello-rejected', code: 'refused' },
  nonetwork: { state: 'offline', why: 'offline', code: 'no-network' },
  replaced: { state: 'replaced' },
};

export const openHome: OpenHome = async () => {
  let who: Profile | undefined = scene === 'first' || scene === 'linking' ? undefined : profile;
  if (scene === 'broken') throw new DsipError('unsupported-browser');
  const listeners = new Set<(who: Profile | undefined) => void>();
  const settle = (next: Profile | undefined) => {
    who = next;
    for (const listener of listeners) listener(next);
  };
  const fingerprint = { groups: ['48213', '90577', '13660', '72904', '55018', '36121'] };
  const home: Home = {
    get profile() {
      return who;
    },
    onProfile(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async create({ name }) {
      settle({ ...profile, name });
      return profile;
    },
    async rename(name) {
      const next = { ...profile, name };
      settle(next);
      return next;
    },
    async guard() {
      return profile;
    },
    async canUsePasskey() {
      return scene !== 'volatile';
    },
    async exportBackup() {
      return new Blob(['backup']);
    },
    async exportWords() {
      return 'abandon ability able about above absent absorb abstract absurd abuse access accident account accuse achieve acid acoustic acquire across act action actor actress actual'.split(' ');
    },
    async importBackup() {
      throw new DsipError('wrong-passphrase');
    },
    async importWords() {
      throw new DsipError('words-invalid');
    },
    async beginLinking() {
      return { code: 'dsip-device:z6MkrCD1csqtgdj8sjrsu8jxcbeyP6m7LiK87NzhfWqio5yr', fingerprint, finish: async () => profile, abandon: async () => {} };
    },
    async readLinkingRequest() {
      return { device: people.ines, name: 'Kitchen tablet', fingerprint, approve: async () => `dsip-delegation:${'a'.repeat(600)}` };
    },
    async devices() {
      return [
        { did: profile.device, name: 'Laptop', isThis: true, delegatedUntil: Date.now() + 300 * 24 * HOUR, revoked: false },
        { did: people.ines, name: 'Phone', isThis: false, delegatedUntil: Date.now() + 120 * 24 * HOUR, revoked: false },
        { did: people.tomas, name: undefined, isThis: false, delegatedUntil: Date.now() + 20 * 24 * HOUR, revoked: true },
      ];
    },
    async revoke() {
      return { until: Date.now() + 120 * 24 * HOUR };
    },
    async erase() {
      settle(undefined);
    },
  };
  return home;
};

export const startPhone: StartPhone = async () => {
  const link = `dsip:${me}?node=wss%3A%2F%2Fnode.example%2Fdsip&name=Mara%20Lindqvist`;
  const setting = CALLS[scene];
  if (setting) stage.calls = [new StageCall(setting) as Call];
  if (scene === 'waiting') {
    stage.calls = [...stage.calls, new StageCall({ id: '01J0000000000000000000CALL2', who: people.tomas, state: 'incoming', incoming: true }) as Call];
  }
  const phone: Phone = {
    identity: me,
    device: profile.device,
    presence: PRESENCE[scene] ?? { state: 'online', node: { uri: 'wss://node.example/dsip', did: 'did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V' } },
    get calls() {
      return stage.calls;
    },
    callOf: (id) => stage.calls.find((call) => call.id === id),
    on: () => () => {},
    onAny(listener) {
      stage.listeners.add(listener);
      return () => stage.listeners.delete(listener);
    },
    shouldAlert: () => true,
    async locate(target) {
      if (target.includes('@nowhere')) throw new DsipError('target-unknown');
      if (!/^(dsip:|did:|https:)|@/.test(target)) throw new DsipError('target-invalid');
      const did = /did:(key|web):[A-Za-z0-9.]+/.exec(target)?.[0] ?? people.clinic;
      const name = /name=([^&]*)/.exec(target)?.[1];
      return {
        did,
        alias: target.includes('@') ? target : undefined,
        aliasBy: target.includes('@') ? 'domain' : undefined,
        claimedName: name && decodeURIComponent(name),
        places: [{ address: { uri: 'wss://node.example/dsip' }, source: did.startsWith('did:web:') ? 'document' : 'link' }],
      };
    },
    async call(whom) {
      if (scene === 'nomic') throw new DsipError('microphone-denied');
      const call = new StageCall(typeof whom === 'string' ? { who: whom, state: 'ringing' } : { who: whom.did, claimed: whom.claimedName, state: 'ringing' }) as Call;
      stage.calls = [call];
      stage.tell({ type: 'outgoing', call });
      if (scene === 'failing') {
        stage.calls = [];
        Object.assign(call, { state: 'ended', reason: 'media.failed', endedAt: Date.now() });
        stage.tell({ type: 'ended', call, reason: 'media.failed', side: 'us', missed: false });
      } else if (scene === 'strict') {
        stage.calls = [];
        Object.assign(call, { state: 'ended', reason: 'policy.first-contact-required', endedAt: Date.now() });
        stage.tell({ type: 'ended', call, reason: 'policy.first-contact-required', side: 'peer', missed: false });
      }
      return call;
    },
    async introduce() {
      if (scene === 'unasked') throw new DsipError('refused');
      return '01J0000000000000000000INTRO';
    },
    requests: async () => requests,
    async grant(introduction) {
      requests = requests.filter((request) => request.introduction !== introduction);
      stage.tell({ type: 'contacts' });
    },
    async reject(introduction) {
      requests = requests.filter((request) => request.introduction !== introduction);
      stage.tell({ type: 'contacts' });
    },
    contacts: async () => contacts,
    async allow() {},
    async remove() {},
    async block() {},
    policy: { firstContact: true, doNotDisturb: false },
    async setPolicy() {},
    history: async () => history,
    async clearHistory() {
      history = [];
      stage.tell({ type: 'history', entry: entry('x', me, 0, {}) });
    },
    myLink: async () => link,
    myWebLink: async () => `https://node.example/#${link}`,
    wake: { serverKey: async () => undefined, register: async () => {}, unregister: async () => {} },
    async stop() {},
  };
  return phone;
};

export const parseLink: ParseLink = async (text) => ({
  did: people.nadia,
  nodes: [],
  name: decodeURIComponent(/name=([^&]*)/.exec(text)?.[1] ?? '') || undefined,
});

export const makeQrCode: MakeQrCode = async (text) => {
  const rows = encodeQR(text, 'raw', { border: 1, ecc: 'medium' })
    .slice(1, -1)
    .map((row) => row.slice(1, -1));
  return { size: rows.length, modules: Uint8Array.from(rows.flat(), (dark) => (dark ? 1 : 0)) };
};

export const devicesOf: DevicesOf = () => ({
  async list(kind) {
    const labels = { audioinput: ['Built-in microphone', 'Headset'], videoinput: ['Front camera'], audiooutput: ['Built-in loudspeaker', 'Headset'] }[kind];
    return labels.map((label, i) => ({ deviceId: `${kind}${i}`, groupId: '', kind, label, toJSON: () => ({}) }));
  },
  onChange: () => () => {},
  async watchLevel(_id, listener) {
    const timer = setInterval(() => listener(0.35 + Math.sin(performance.now() / 300) * 0.25), 80);
    return () => clearInterval(timer);
  },
  async prefer() {},
  preferred: () => undefined,
});
