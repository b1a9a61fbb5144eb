/** Devices that act for me: adding one, comparing its fingerprint first; taking one's leave back. */
import type { Device, LinkingOffer, Unlock } from '@dsip/client';
import { useEffect, useState } from 'preact/hooks';
import { isolate, t } from '../../i18n/index.ts';
import { attempt, codeOf, openHome, profile, toast } from '../../store.ts';
import { Icon } from '../../ui/icon.tsx';
import { Lazy } from '../../ui/lazy.tsx';
import { CopyButton, Field, Note, Sheet } from '../../ui/parts.tsx';
import { Qr } from '../../ui/qr.tsx';
import { date } from '../../when.ts';
import { errorWords, shortDid } from '../../words.ts';
import { Fingerprint } from './fingerprint.tsx';
import { UnlockSheet, needsUnlock } from './unlock.tsx';

export function LinkedDevices() {
  const [devices, setDevices] = useState<readonly Device[]>([]);
  const [linking, setLinking] = useState(false);
  const [revoking, setRevoking] = useState<Device>();
  const refresh = () => void openHome().then(async (home) => setDevices(await home.devices()));
  useEffect(refresh, [profile.value]);
  const mayDo = profile.value?.hasIdentityKey === true;
  return (
    <div class="stack stack--l">
      <ul class="list">
        {devices.map((device) => (
          <li key={device.did}>
            <div class="item">
              <span class="hint__icon">
                <Icon name="laptop" />
              </span>
              <span class="item__text">
                <span class="item__title" dir="auto">
                  {device.name ?? t('link.unnamed')}
                  {device.isThis && <span class="pill pill--inline">{t('link.this')}</span>}
                </span>
                <span class="item__sub">
                  <span>{device.revoked ? t('link.revoked') : t('link.until', { date: date(device.delegatedUntil) })}</span>
                </span>
                <span class="mono muted" dir="ltr">
                  {shortDid(device.did)}
                </span>
              </span>
              {mayDo && !device.isThis && !device.revoked && (
                <button type="button" class="btn btn--danger-quiet btn--small" onClick={() => setRevoking(device)}>
                  {t('link.revoke')}
                </button>
              )}
            </div>
          </li>
        ))}
      </ul>
      {mayDo ? (
        <button type="button" class="btn btn--primary" onClick={() => setLinking(true)}>
          <Icon name="laptop" size={20} />
          {t('link.start')}
        </button>
      ) : (
        <Note icon="key">{t('link.noKey')}</Note>
      )}
      {linking && (
        <LinkSheet
          onClose={() => {
            setLinking(false);
            refresh();
          }}
        />
      )}
      {revoking && (
        <UnlockSheet
          title={t('link.revoke.sure', { name: isolate(revoking.name ?? t('link.unnamed')) })}
          hint={t('link.revoke.hint')}
          go={t('link.revoke')}
          danger
          onClose={() => setRevoking(undefined)}
          onUnlock={async (unlock) => {
            const { until } = await (await openHome()).revoke(revoking.did, unlock);
            toast(t('link.revoked.until', { date: date(until) }));
            setRevoking(undefined);
            refresh();
          }}
        />
      )}
    </div>
  );
}

function LinkSheet({ onClose }: { onClose: () => void }) {
  const [offer, setOffer] = useState<LinkingOffer>();
  const [answer, setAnswer] = useState<string>();
  const [unlocking, setUnlocking] = useState(false);
  const approve = async (unlock: Unlock | undefined) => {
    if (offer) setAnswer(await offer.approve(unlock));
    setUnlocking(false);
  };
  return (
    <Sheet title={t('link.title')} onClose={onClose}>
      {offer === undefined && (
        <div class="stack stack--l">
          <ol class="steps">
            <li>{t('link.step.open')}</li>
            <li>{t('link.step.scan')}</li>
          </ol>
          <CodeInput onCode={(code) => attempt(openHome().then(async (home) => setOffer(await home.readLinkingRequest(code))))} />
        </div>
      )}
      {offer !== undefined && answer === undefined && (
        <div class="stack stack--l">
          <p>
            <strong>{t('link.compare')}</strong>
          </p>
          <Fingerprint of={offer.fingerprint} />
          {offer.name && <p class="muted">{t('basis.claimed', { name: isolate(offer.name) })}</p>}
          <p class="small muted">{t('link.compare.hint')}</p>
          <div class="row row--fill">
            <button type="button" class="btn btn--line" onClick={onClose}>
              {t('link.differ')}
            </button>
            <button
              type="button"
              class="btn btn--primary"
              onClick={() => (needsUnlock() ? setUnlocking(true) : void attempt(approve(undefined)))}
            >
              {t('link.alike')}
            </button>
          </div>
        </div>
      )}
      {answer !== undefined && (
        <div class="stack stack--l">
          <p>
            <strong>{t('link.show')}</strong>
          </p>
          <div class="code__qr">
            <Qr text={answer} label={t('link.show')} />
          </div>
          <p class="small muted">{t('link.show.hint')}</p>
          <div class="row row--fill">
            <CopyButton text={answer} label={t('link.copyCode')} />
            <button type="button" class="btn btn--primary" onClick={onClose}>
              {t('do.done')}
            </button>
          </div>
        </div>
      )}
      {unlocking && <UnlockSheet title={t('keys.unlock')} go={t('keys.unlock.go')} onClose={() => setUnlocking(false)} onUnlock={approve} />}
    </Sheet>
  );
}

/** Takes a code by camera or by paste. `onCode` says whether it was taken. */
export function CodeInput({ onCode }: { onCode: (code: string) => Promise<boolean> }) {
  const [scanning, setScanning] = useState(false);
  const [text, setText] = useState('');
  const [wrong, setWrong] = useState<string>();
  const take = async (code: string) => {
    try {
      await onCode(code.trim());
    } catch (error) {
      setWrong(errorWords(codeOf(error)));
    }
  };
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void take(text);
      }}
    >
      <button type="button" class="btn btn--primary" onClick={() => setScanning(true)}>
        <Icon name="scan" size={20} />
        {t('scan.title')}
      </button>
      <Field
        label={t('link.paste')}
        value={text}
        error={wrong}
        code
        onInput={(value) => {
          setText(value);
          setWrong(undefined);
        }}
        end={
          <button type="submit" class="btn btn--icon" aria-label={t('do.continue')} disabled={text.trim() === ''}>
            <Icon name="chevron" class="flip" />
          </button>
        }
      />
      {scanning && (
        <Lazy
          of={() => import('../scan.tsx')}
          pick="Scan"
          props={{
            onClose: () => setScanning(false),
            onFound: (code: string) => {
              setScanning(false);
              void take(code);
            },
          }}
        />
      )}
    </form>
  );
}
