/** A QR code as one path. Always dark on white: cameras want it so, whatever the theme. */
import { useEffect, useState } from 'preact/hooks';
import { library } from '../store.ts';

interface Drawn {
  readonly size: number;
  readonly path: string;
}

/** One path of horizontal runs: `size` squares on a side, `1` dark. */
export function draw(size: number, modules: Uint8Array): string {
  let path = '';
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      if (modules[y * size + x] !== 1) continue;
      let run = 1;
      while (x + run < size && modules[y * size + x + run] === 1) run++;
      path += `M${x + 4} ${y + 4}h${run}v1h-${run}z`;
      x += run;
    }
  }
  return path;
}

export function Qr({ text, label }: { text: string | undefined; label: string }) {
  const [drawn, setDrawn] = useState<Drawn>();
  useEffect(() => {
    let live = true;
    if (text === undefined) return;
    void library()
      .then((lib) => lib.makeQrCode(text))
      .then(({ size, modules }) => live && setDrawn({ size, path: draw(size, modules) }));
    return () => {
      live = false;
    };
  }, [text]);
  const side = (drawn?.size ?? 45) + 8;
  return (
    <svg class="qr" viewBox={`0 0 ${side} ${side}`} role="img" aria-label={label} shape-rendering="crispEdges">
      <rect width={side} height={side} fill="#fff" />
      {drawn && <path d={drawn.path} fill="#0f242b" />}
    </svg>
  );
}
