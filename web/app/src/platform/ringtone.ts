/**
 * The ringtone, made of sine waves: no file, nothing to load. A fifth and a third rise twice and rest, softly, like a marimba.
 * A page may only sound after it was touched once; until then {@link ring} stays silent and the notification has to do.
 */

let context: AudioContext | undefined;

/** One note: its beginning in seconds, its pitch in hertz. */
export interface Note {
  readonly at: number;
  readonly hertz: number;
  readonly gain: number;
}

/** One round of the melody, and how long until the next. */
export const ROUND = 3.2;
export const INCOMING: readonly Note[] = [
  { at: 0, hertz: 523.25, gain: 0.5 },
  { at: 0.18, hertz: 659.25, gain: 0.5 },
  { at: 0.36, hertz: 783.99, gain: 0.6 },
  { at: 0.72, hertz: 659.25, gain: 0.4 },
  { at: 1.08, hertz: 523.25, gain: 0.5 },
  { at: 1.26, hertz: 659.25, gain: 0.5 },
  { at: 1.44, hertz: 880, gain: 0.6 },
];
/** What the caller hears: one low, quiet tone. */
export const OUTGOING: readonly Note[] = [
  { at: 0, hertz: 329.63, gain: 0.22 },
  { at: 0.42, hertz: 329.63, gain: 0.22 },
];
const OVER: readonly Note[] = [
  { at: 0, hertz: 440, gain: 0.25 },
  { at: 0.16, hertz: 329.63, gain: 0.25 },
];

/** Gets the loudspeaker ready at the first touch; browsers let nothing sound before. */
export function wakeSpeaker(): void {
  const wake = () => {
    context ??= new AudioContext();
    void context.resume();
  };
  addEventListener('pointerdown', wake, { once: true, capture: true });
  addEventListener('keydown', wake, { once: true, capture: true });
}

/** Repeats a melody until stopped. */
export function ring(notes: readonly Note[]): () => void {
  const speaker = context;
  if (speaker === undefined) return () => undefined;
  const out = speaker.createGain();
  out.gain.value = 0.5;
  out.connect(speaker.destination);
  const round = () => {
    for (const note of notes) strike(speaker, out, note);
  };
  round();
  const timer = setInterval(round, ROUND * 1000);
  return () => {
    clearInterval(timer);
    out.gain.setTargetAtTime(0, speaker.currentTime, 0.03);
    setTimeout(() => out.disconnect(), 300);
  };
}

/** Plays a melody once. */
export function chime(notes: readonly Note[] = OVER): void {
  if (context === undefined) return;
  for (const note of notes) strike(context, context.destination, note);
}

/** A struck bar: the tone, its fourth partial that dies at once, and a long decay. */
function strike(speaker: AudioContext, out: AudioNode, note: Note): void {
  for (const [partial, share, decay] of [
    [1, 1, 0.9],
    [4, 0.18, 0.15],
  ] as const) {
    const begin = speaker.currentTime + note.at + 0.02;
    const tone = speaker.createOscillator();
    const envelope = speaker.createGain();
    tone.frequency.value = note.hertz * partial;
    envelope.gain.setValueAtTime(0, begin);
    envelope.gain.linearRampToValueAtTime(note.gain * share, begin + 0.008);
    envelope.gain.exponentialRampToValueAtTime(0.0005, begin + decay);
    tone.connect(envelope).connect(out);
    tone.start(begin);
    tone.stop(begin + decay + 0.05);
  }
}
