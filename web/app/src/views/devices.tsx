/** Microphone, camera, loudspeaker: chosen, and heard to work. */
import type { Call, MediaDevices } from '@dsip/client';
import { useEffect, useId, useState } from 'preact/hooks';
import { t } from '../i18n/index.ts';
import * as ringtone from '../platform/ringtone.ts';
import { attempt, codeOf, library, openHome } from '../store.ts';
import { Icon } from '../ui/icon.tsx';
import { Busy, Note, Sheet } from '../ui/parts.tsx';
import { errorWords } from '../words.ts';

const KINDS = [
  ['audioinput', 'devices.microphone'],
  ['videoinput', 'devices.camera'],
  ['audiooutput', 'devices.speaker'],
] as const;

type Kind = (typeof KINDS)[number][0];

export function Devices({ call, onClose }: { call?: Call; onClose: () => void }) {
  return (
    <Sheet title={t('devices.title')} onClose={onClose}>
      <DeviceChoice call={call} />
    </Sheet>
  );
}

export function DeviceChoice({ call }: { call?: Call | undefined }) {
  const [devices, setDevices] = useState<MediaDevices>();
  useEffect(() => {
    void Promise.all([library(), openHome()]).then(([lib, home]) => setDevices(lib.devicesOf(home)));
  }, []);
  if (devices === undefined) return <Busy text={t('presence.connecting')} />;
  return (
    <div class="stack stack--l">
      {KINDS.map(([kind, label]) => (
        <Choice key={kind} kind={kind} label={t(label)} devices={devices} call={call} />
      ))}
    </div>
  );
}

function Choice({ kind, label, devices, call }: { kind: Kind; label: string; devices: MediaDevices; call: Call | undefined }) {
  const id = useId();
  const [list, setList] = useState<readonly MediaDeviceInfo[]>();
  const [chosen, setChosen] = useState(devices.preferred(kind) ?? '');
  // In a call the microphone is open anyway; elsewhere nothing is opened before a press.
  const [listens, setListens] = useState(call !== undefined);
  useEffect(() => {
    const refresh = () => void devices.list(kind).then(setList);
    refresh();
    return devices.onChange(refresh);
  }, [devices, kind]);
  const choose = async (deviceId: string) => {
    setChosen(deviceId);
    await attempt(devices.prefer(kind, deviceId || undefined));
    if (kind === 'audiooutput') dispatchEvent(new Event('dsip-speaker'));
    else if (call && deviceId) await attempt(call.useDevice(kind, deviceId));
  };
  if (list?.length === 0 && kind !== 'audiooutput') return <Note kind="warn">{t(`devices.none.${kind}`)}</Note>;
  if (list?.length === 0) return null;
  return (
    <div class="field">
      <label class="field__label" for={id}>
        {label}
      </label>
      <select id={id} class="input select" value={chosen} onChange={(event) => void choose(event.currentTarget.value)}>
        <option value="">{t('devices.default')}</option>
        {list?.map((device, i) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || t('devices.unnamed', { n: i + 1 })}
          </option>
        ))}
      </select>
      {kind === 'audioinput' &&
        (listens ? (
          <Level devices={devices} deviceId={chosen || undefined} />
        ) : (
          <div>
            <button type="button" class="btn btn--quiet btn--small" onClick={() => setListens(true)}>
              <Icon name="mic" size={20} />
              {t('devices.try')}
            </button>
          </div>
        ))}
      {kind === 'audiooutput' && (
        <div>
          <button type="button" class="btn btn--quiet btn--small" onClick={() => ringtone.chime(ringtone.INCOMING)}>
            <Icon name="speaker" size={20} />
            {t('devices.test')}
          </button>
        </div>
      )}
    </div>
  );
}

/** Speak, and it moves. */
function Level({ devices, deviceId }: { devices: MediaDevices; deviceId: string | undefined }) {
  const [level, setLevel] = useState(0);
  const [wrong, setWrong] = useState<string>();
  useEffect(() => {
    let stop: (() => void) | undefined;
    let gone = false;
    setWrong(undefined);
    devices.watchLevel(deviceId, setLevel).then(
      (unsubscribe) => {
        if (gone) unsubscribe();
        else stop = unsubscribe;
      },
      (error: unknown) => setWrong(errorWords(codeOf(error))),
    );
    return () => {
      gone = true;
      stop?.();
    };
  }, [devices, deviceId]);
  if (wrong) return <Note kind="warn">{wrong}</Note>;
  const percent = Math.round(Math.min(1, level) * 100);
  return (
    <span class="meter" role="meter" aria-label={t('devices.level')} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
      <span style={{ transform: `scaleX(${percent / 100})` }} />
    </span>
  );
}
