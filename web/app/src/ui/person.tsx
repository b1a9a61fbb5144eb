/** People in lists. */
import type { Did } from '@dsip/client';
import type { ComponentChildren } from 'preact';
import { t } from '../i18n/index.ts';
import type { Named } from '../words.ts';
import { Avatar } from './avatar.tsx';

/** A name, as it is: the owner's word plainly, a claim in quotation marks, both as text alone. */
export function Name({ who }: { who: Named }) {
  return <bdi>{who.claimed ? t('basis.claimed', { name: who.name }) : who.name}</bdi>;
}

/** A row of a list: a face, a name, a line below, something to press at the end. */
export function PersonRow(props: {
  id: Did;
  who: Named;
  sub: ComponentChildren;
  subKind?: 'danger' | undefined;
  href: string;
  end?: ComponentChildren;
}) {
  return (
    <div class="item">
      <a class="item__main" href={props.href}>
        <Avatar id={props.id} name={props.who.name} size={48} />
        <span class="item__text">
          <span class="item__title" dir="auto">
            <Name who={props.who} />
          </span>
          <span class={props.subKind ? 'item__sub item__sub--danger' : 'item__sub'}>{props.sub}</span>
        </span>
      </a>
      {props.end}
    </div>
  );
}
