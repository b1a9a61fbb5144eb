/**
 * What is seen and heard. The element that plays the other's sound is here for as long as the call is, shown or not: taking it
 * away for a moment would be heard.
 */
import type { Call } from '@dsip/client';
import { useEffect, useRef } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import { prefs } from '../prefs.ts';
import { openHome, library } from '../store.ts';
import { useRealTimeText } from './text.tsx';

export function Picture({ call, name, shown }: { call: Call; name: string; shown: boolean }) {
  const { media } = call;
  const theirScreen = media.remoteScreen.getVideoTracks().length > 0;
  const theirVideo = media.remote.getVideoTracks().length > 0;
  const ownVideo = media.local.getVideoTracks().some((track) => track.enabled);
  const ownScreen = media.localScreen.getVideoTracks().length > 0;
  const main = useStream(media.remote);
  useSpeaker(main);
  const screen = useStream(media.remoteScreen);
  const own = useStream(media.local);
  const shared = useStream(media.localScreen);
  return (
    <div class={`picture${shown ? '' : ' picture--hidden'}${theirScreen ? ' picture--screen' : ''}`}>
      <video
        ref={main}
        class={theirScreen ? 'picture__main picture__main--small' : 'picture__main'}
        autoPlay
        playsInline
        aria-label={t('call.theirVideo', { name })}
        data-on={theirVideo}
      />
      <video ref={screen} class="picture__screen" autoPlay playsInline muted hidden={!theirScreen} aria-label={t('call.theirScreen', { name })} />
      <div class="picture__own">
        <video ref={own} class="picture__self" autoPlay playsInline muted hidden={!ownVideo} aria-label={t('call.ownVideo')} />
        <video ref={shared} class="picture__shared" autoPlay playsInline muted hidden={!ownScreen} aria-label={t('call.ownScreen')} />
      </div>
      {shown && prefs.value.captions && call.text && <Caption call={call} />}
    </div>
  );
}

/** The line the other is typing, over the picture. */
function Caption({ call }: { call: Call }) {
  const lines = useRealTimeText(call.text);
  const last = lines.filter((line) => line.from === 'peer').at(-1);
  if (last === undefined || last.text === '') return null;
  return (
    <p class="caption" dir="auto">
      {last.text}
    </p>
  );
}

function useStream(stream: MediaStream) {
  const ref = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = ref.current;
    if (element && element.srcObject !== stream) element.srcObject = stream;
  }, [stream]);
  return ref;
}

/** Plays through the loudspeaker that was chosen, where browsers let one choose. */
function useSpeaker(ref: { readonly current: HTMLVideoElement | null }): void {
  useEffect(() => {
    const choose = async () => {
      const preferred = (await library()).devicesOf(await openHome()).preferred('audiooutput');
      const element = ref.current;
      if (preferred !== undefined && element && 'setSinkId' in element) await element.setSinkId(preferred);
    };
    // A loudspeaker that was unplugged meanwhile: the system's own choice plays.
    choose().catch(() => undefined);
    const again = () => void choose().catch(() => undefined);
    addEventListener('dsip-speaker', again);
    return () => removeEventListener('dsip-speaker', again);
  }, []);
}
