/** What stands behind the words: who it is and why that is believed, how the call is encrypted, how it is doing. */
import type { Call, Party } from '@dsip/client';
import { t } from '../i18n/index.ts';
import { BasisChip, Sheet } from '../ui/parts.tsx';
import { qualityWords } from '../words.ts';

export function Details({ call, party, onClose }: { call: Call; party: Party; onClose: () => void }) {
  const { security } = call;
  const quality = call.media.quality;
  return (
    <Sheet title={t('details.title')} onClose={onClose} wide>
      <h3>{t('details.who')}</h3>
      <dl class="facts">
        <Fact name={t('details.basis')}>
          <BasisChip basis={party.basis} known={party.known} />
          <p class="small muted" lang="en">
            {party.basis.text}
          </p>
        </Fact>
        <Fact name={t('details.identity')} code={party.identity} />
        <Fact name={t('details.device')} code={party.device} />
      </dl>
      <h3>{t('details.encryption')}</h3>
      <p class="small">{t('details.encryption.lead')}</p>
      <dl class="facts">
        <Fact name={t('details.theirs')} code={security.remoteFingerprint} />
        <Fact name={t('details.ours')} code={security.localFingerprint} />
      </dl>
      <p class="small muted">{t('details.compare')}</p>
      <dl class="facts">
        <Fact name="DTLS · SRTP" code={[security.dtls, security.srtp].filter(Boolean).join(' · ') || undefined} />
        <Fact name={t('details.path')}>{quality?.path ? t(`details.path.${quality.path}`) : t('details.unknown')}</Fact>
      </dl>
      {quality && (
        <>
          <h3>{t('details.figures')}</h3>
          <p class="small">{qualityWords(quality)}</p>
          <dl class="figures num">
            <Figure name={t('details.mos')} value={quality.mos.toFixed(1)} />
            <Figure name={t('details.roundTrip')} value={ms(quality.roundTripMs)} />
            <Figure name={t('details.jitter')} value={ms(quality.jitterMs)} />
            <Figure name={t('details.loss')} value={`${(quality.loss * 100).toFixed(1)} %`} />
            <Figure name={t('details.bitrate')} value={`${kbit(quality.bitsPerSecondIn)} · ${kbit(quality.bitsPerSecondOut)}`} />
            {quality.video && (
              <Figure
                name={t('details.picture')}
                value={`${quality.video.width} × ${quality.video.height}, ${Math.round(quality.video.framesPerSecond)}/s`}
              />
            )}
            <Figure name={t('details.codecs')} value={quality.codecs.join(', ') || '–'} />
          </dl>
        </>
      )}
    </Sheet>
  );
}

function Fact(props: { name: string; code?: string | undefined; children?: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>
        {props.children ??
          (props.code === undefined ? (
            <span class="muted">{t('details.unknown')}</span>
          ) : (
            <span class="mono" dir="ltr">
              {props.code}
            </span>
          ))}
      </dd>
    </div>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function ms(value: number | undefined): string {
  return value === undefined ? '–' : `${Math.round(value)} ms`;
}

function kbit(bits: number): string {
  return `${Math.round(bits / 1000)} kbit/s`;
}
