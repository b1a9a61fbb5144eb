/**
 * The face of an identity: rings whose place, length and colour follow from its DID, around an initial. Two people of one name
 * look different, and the same person always looks the same. It helps to notice a change; it verifies nothing.
 */

export interface Rings {
  /** Two hues, in degrees. */
  readonly hue: number;
  readonly hue2: number;
  /** From the inside out: where each begins (turns), how much of the turn it covers. */
  readonly arcs: readonly { readonly from: number; readonly length: number; readonly radius: number }[];
}

/** The rings of a text. */
export function rings(text: string): Rings {
  const random = stream(text);
  const hue = Math.floor(random() * 360);
  const hue2 = (hue + 28 + Math.floor(random() * 50)) % 360;
  const arcs = [31, 38, 45].map((radius) => ({ radius, from: random(), length: 0.18 + random() * 0.5 }));
  return { hue, hue2, arcs };
}

/** Numbers from 0 to 1 that follow from a text (FNV-1a, then xorshift). Not for secrets. */
function stream(text: string): () => number {
  let state = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193);
  state = state === 0 ? 1 : state;
  for (let i = 0; i < 4; i++) next();
  function next(): number {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 0x1_0000_0000;
  }
  return next;
}

/** The first letter of a name, as people see letters. */
export function initial(name: string): string {
  const first = [...new Intl.Segmenter().segment(name.trim())][0]?.segment ?? '';
  return /[\p{L}\p{N}\p{Emoji_Presentation}]/u.test(first) ? first.toLocaleUpperCase() : '';
}

export function Avatar({ id, name, size }: { id: string; name: string; size: number }) {
  const { hue, hue2, arcs } = rings(id);
  const gradient = `g${hue}-${hue2}-${size}`;
  const letter = name === '' || /^z[A-Za-z1-9]{6}/.test(name) ? '' : initial(name);
  return (
    <svg class="avatar" width={size} height={size} viewBox="0 0 100 100" aria-hidden="true" focusable="false">
      <defs>
        <linearGradient id={gradient} x1="0" y1="0" x2="1" y2="1">
          <stop offset="0" stop-color={`hsl(${hue2} 46% 46%)`} />
          <stop offset="1" stop-color={`hsl(${hue} 52% 30%)`} />
        </linearGradient>
      </defs>
      <circle cx="50" cy="50" r="50" fill={`url(#${gradient})`} />
      {arcs.map((arc, i) => (
        <circle
          key={arc.radius}
          cx="50"
          cy="50"
          r={arc.radius}
          fill="none"
          stroke={`hsl(${hue2} 80% 88%)`}
          stroke-opacity={0.85 - i * 0.2}
          stroke-width="2.6"
          stroke-linecap="round"
          pathLength="100"
          stroke-dasharray={`${arc.length * 100} 100`}
          transform={`rotate(${arc.from * 360} 50 50)`}
        />
      ))}
      {letter ? (
        <text x="50" y="51.5" text-anchor="middle" dominant-baseline="central" font-size="36" fill="#fff">
          {letter}
        </text>
      ) : (
        <circle cx="50" cy="50" r="9" fill="#fff" fill-opacity="0.92" />
      )}
    </svg>
  );
}

/** The mark of the product: a point, and the sound of it going out. */
export function Mark({ size }: { size: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 48 48" fill="none" stroke-linecap="round" aria-hidden="true" focusable="false">
      <circle cx="24" cy="24" r="5" fill="#ff7a52" />
      <path d="M24 12.500a11.500 11.500 0 1 0 11.500 11.500" stroke="currentColor" stroke-width="3.500" />
      <path d="M28.500 5a19.500 19.500 0 0 1 14.500 14.500" stroke="currentColor" stroke-width="3.500" />
      <path d="M5.600 30.500A19.500 19.500 0 0 0 20 43" stroke="currentColor" stroke-width="3.500" stroke-opacity="0.45" />
    </svg>
  );
}
