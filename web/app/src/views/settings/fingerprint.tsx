/** Numbers that two people, or one with two screens, compare. */
import type { Fingerprint as Groups } from '@dsip/client';

export function Fingerprint({ of }: { of: Groups }) {
  return (
    <ol class="fingerprint num" dir="ltr">
      {of.groups.map((group, i) => (
        <li key={i}>{group}</li>
      ))}
    </ol>
  );
}
