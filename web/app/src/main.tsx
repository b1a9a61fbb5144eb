/** Draws the first face at once, and fetches what it does not need afterwards. */
import './styles/base.css';
import './styles/parts.css';
import './styles/views.css';
import { effect } from '@preact/signals';
import { render } from 'preact';
import { choose, type Locale, locale, speak, t } from './i18n/index.ts';
import { wakeSpeaker } from './platform/ringtone.ts';
import { register } from './platform/worker.ts';
import { prefs, wear } from './prefs.ts';
import { follow, route } from './route.ts';
import { begin, hearWorker, soundOutgoing, stage } from './store.ts';
import { Mark } from './ui/avatar.tsx';
import { Lazy } from './ui/lazy.tsx';
import { Note } from './ui/parts.tsx';
import { Calls } from './views/call.tsx';
import { Home, MyCode } from './views/home.tsx';
import { People, Person, Requests } from './views/people.tsx';
import { Recents } from './views/recents.tsx';
import { Edge, Shell } from './views/shell.tsx';
import { To } from './views/to.tsx';
import { Welcome } from './views/welcome.tsx';
import { errorWords } from './words.ts';

const settings = () => import('./views/settings/settings.tsx');

function Place() {
  const at = route.value;
  switch (at.at) {
    case 'home':
      return <Home />;
    case 'code':
      return <MyCode />;
    case 'recents':
      return <Recents />;
    case 'people':
      return <People />;
    case 'requests':
      return <Requests />;
    case 'person':
      return <Person key={at.did} did={at.did} />;
    case 'to':
    case 'ask':
      return <To key={at.target} target={at.target} asks={at.at === 'ask'} />;
    case 'settings':
      return <Lazy of={settings} pick="Settings" props={{ section: at.section }} />;
  }
}

function Page() {
  const now = stage.value;
  switch (now.is) {
    case 'opening':
      return (
        <main class="opening" id="main">
          <Mark size={72} />
          <p class="sr">{t('presence.connecting')}</p>
        </main>
      );
    case 'welcome':
      return (
        <>
          <Welcome />
          <Edge />
        </>
      );
    case 'broken':
      return (
        <main class="opening" id="main">
          <div class="narrow stack">
            <Mark size={56} />
            <h1>{t('error.title')}</h1>
            <Note kind="danger">{errorWords(now.code)}</Note>
            <button type="button" class="btn btn--primary" onClick={() => location.reload()}>
              {t('do.retry')}
            </button>
          </div>
        </main>
      );
    case 'phone':
      return (
        <>
          <Shell>
            <Place />
          </Shell>
          <Calls />
          <Edge />
        </>
      );
  }
}

/** The language asked for: by the address for testers, by the owner, by the browser. */
function wanted(): Locale {
  if (new URLSearchParams(location.search).get('lang') === 'qps-plocm') return 'qps-plocm';
  const { language } = prefs.value;
  return language === 'system' ? choose(navigator.languages) : language;
}

async function main(): Promise<void> {
  wear();
  follow();
  wakeSpeaker();
  await speak(wanted());
  effect(() => {
    const to = wanted();
    if (to !== locale.peek()) void speak(to);
  });
  const root = document.getElementById('root');
  if (root) render(<Page />, root);
  soundOutgoing();
  await begin();
  await register(hearWorker);
}

void main();
