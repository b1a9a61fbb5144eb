/** A view that is fetched when it is first wanted. */
import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { toast } from '../store.ts';
import { errorWords } from '../words.ts';

export function Lazy<P extends object, K extends string>(given: {
  of: () => Promise<Readonly<Record<K, ComponentType<P>>>>;
  pick: K;
  props: P;
}) {
  const [View, setView] = useState<ComponentType<P>>();
  useEffect(() => {
    given.of().then(
      (module) => setView(() => module[given.pick]),
      () => toast(errorWords('node-unreachable')),
    );
  }, []);
  return View ? <View {...given.props} /> : <span class="progress progress--lazy" role="status" aria-label={t('presence.connecting')} />;
}
