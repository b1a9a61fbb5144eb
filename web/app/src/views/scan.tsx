/** Reads a QR code: by the browser's own detector where there is one, else by a decoder that is fetched for it. */
import type { ErrorCode } from '@dsip/client';
import { useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { type Reader, reader } from '../platform/reader.ts';
import { toast } from '../store.ts';
import { Icon } from '../ui/icon.tsx';
import { Busy, Note, Sheet } from '../ui/parts.tsx';
import { errorWords } from '../words.ts';

export function Scan(props: { title?: string; onClose: () => void; onFound: (text: string) => void }) {
  const video = useRef<HTMLVideoElement>(null);
  const [wrong, setWrong] = useState<ErrorCode>();
  const [seeing, setSeeing] = useState(false);

  useEffect(() => {
    let live = true;
    let stream: MediaStream | undefined;
    const look = async () => {
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 } } });
      } catch (error) {
        setWrong(cameraCode(error));
        return;
      }
      const element = video.current;
      if (!live || !element) {
        stop(stream);
        return;
      }
      element.srcObject = stream;
      await element.play();
      setSeeing(true);
      const read = await reader();
      while (live) {
        const text = await read(element);
        if (live && text !== undefined) {
          props.onFound(text);
          return;
        }
        await new Promise((next) => setTimeout(next, 120));
      }
    };
    void look();
    return () => {
      live = false;
      if (stream) stop(stream);
    };
  }, []);

  return (
    <Sheet title={props.title ?? t('scan.title')} onClose={props.onClose}>
      {wrong ? (
        <Note kind="danger" icon="videoOff" live>
          {errorWords(wrong)}
        </Note>
      ) : (
        <div class="scanner">
          <video ref={video} playsInline muted aria-label={t('scan.aim')} />
          <svg class="scanner__frame" viewBox="0 0 100 100" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" aria-hidden="true">
            <path d="M3 22V11a8 8 0 0 1 8-8h11M78 3h11a8 8 0 0 1 8 8v11M97 78v11a8 8 0 0 1-8 8H78M22 97H11a8 8 0 0 1-8-8V78" />
          </svg>
        </div>
      )}
      {!wrong && (seeing ? <p class="muted center">{t('scan.aim')}</p> : <Busy text={t('scan.starting')} />)}
      <Pick onFound={props.onFound} />
    </Sheet>
  );
}

/** A picture with a code in it, such as a screenshot somebody sent. */
function Pick({ onFound }: { onFound: (text: string) => void }) {
  const pick = async (file: File | undefined) => {
    if (!file) return;
    const read: Reader = await reader();
    const picture = await createImageBitmap(file).catch(() => undefined);
    const text = picture && (await read(picture));
    if (text === undefined) toast(t('scan.nothing'));
    else onFound(text);
  };
  return (
    <label class="btn btn--line btn--wide filepick">
      <Icon name="file" size={20} />
      {t('scan.file')}
      <input type="file" accept="image/*" onChange={(event) => void pick(event.currentTarget.files?.[0])} />
    </label>
  );
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

function cameraCode(error: unknown): ErrorCode {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'camera-missing';
  return name === 'NotReadableError' ? 'camera-busy' : 'camera-denied';
}
