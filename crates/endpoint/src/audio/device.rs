//! The machine's microphone and loudspeaker, by cpal.
//!
//! A stream belongs to the thread that made it, so each gets a thread of its own that holds it until the owner lets go. Samples
//! cross over in bounded channels: a call that falls behind loses sound, it never gathers it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;

use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{FromSample, Sample as _, SampleFormat, SizedSample, SupportedStreamConfig, SupportedStreamConfigRange};
use dsip_media::codec::{FRAME, RATE};

use super::Error;

/// Frames between the device and the call: what either may be late by.
const DEPTH: usize = 10;

const NAME: &str = "device";

/// A microphone that runs while this lives.
pub(super) struct Reader {
    frames: Receiver<Vec<f32>>,
    _held: Sender<()>,
    ended: bool,
}

impl Reader {
    pub(super) fn open() -> Result<Self, Error> {
        let (to, frames) = sync_channel(DEPTH);
        let held = hold(move || {
            let device = cpal::default_host().default_input_device().ok_or("there is no microphone")?;
            let config = choose(device.supported_input_configs().map_err(|error| error.to_string())?)?;
            match config.sample_format() {
                SampleFormat::F32 => capture::<f32>(&device, &config, to),
                SampleFormat::I16 => capture::<i16>(&device, &config, to),
                _ => capture::<i32>(&device, &config, to),
            }
        })?;
        Ok(Self { frames, _held: held, ended: false })
    }

    /// The next frame, or silence if the device is late.
    pub(super) fn next(&mut self) -> Vec<f32> {
        match self.frames.try_recv() {
            Ok(frame) => frame,
            Err(error) => {
                self.ended = error == TryRecvError::Disconnected;
                vec![0.0; FRAME]
            }
        }
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }
}

/// A loudspeaker that runs while this lives.
pub(super) struct Writer {
    frames: SyncSender<Vec<f32>>,
    _held: Sender<()>,
}

impl Writer {
    pub(super) fn open() -> Result<Self, Error> {
        let (frames, from) = sync_channel(DEPTH);
        let held = hold(move || {
            let device = cpal::default_host().default_output_device().ok_or("there is no loudspeaker")?;
            let config = choose(device.supported_output_configs().map_err(|error| error.to_string())?)?;
            match config.sample_format() {
                SampleFormat::F32 => play::<f32>(&device, &config, from),
                SampleFormat::I16 => play::<i16>(&device, &config, from),
                _ => play::<i32>(&device, &config, from),
            }
        })?;
        Ok(Self { frames, _held: held })
    }

    pub(super) fn write(&self, pcm: &[f32]) {
        // A device that does not keep up loses the frame.
        let _ = self.frames.try_send(pcm.to_vec());
    }
}

/// Makes a stream on a thread of its own, which keeps it until the returned end is dropped.
fn hold(make: impl FnOnce() -> Result<cpal::Stream, String> + Send + 'static) -> Result<Sender<()>, Error> {
    let (held, released) = channel::<()>();
    let (report, made) = channel();
    let thread = thread::Builder::new().name("dsip-sound".into()).spawn(move || match make() {
        Ok(stream) => {
            let started = stream.play().map_err(|error| error.to_string());
            if report.send(started).is_ok() {
                // Nothing is ever sent: this returns when the owner lets go.
                let _ = released.recv();
            }
        }
        Err(why) => drop(report.send(Err(why))),
    });
    thread.map_err(|error| Error::new(NAME, error))?;
    match made.recv() {
        Ok(Ok(())) => Ok(held),
        Ok(Err(why)) => Err(Error::new(NAME, why)),
        Err(_) => Err(Error::new(NAME, "the sound system failed")),
    }
}

/// The simplest configuration at our rate: few channels, and a sample format we convert.
fn choose(all: impl Iterator<Item = SupportedStreamConfigRange>) -> Result<SupportedStreamConfig, String> {
    let known = |format| match format {
        SampleFormat::F32 => Some(0),
        SampleFormat::I16 => Some(1),
        SampleFormat::I32 => Some(2),
        _ => None,
    };
    all.filter_map(|range| Some((known(range.sample_format())?, range.try_with_sample_rate(RATE)?)))
        .min_by_key(|(format, config)| (config.channels(), *format))
        .map(|(_, config)| config)
        .ok_or_else(|| "it does not run at 48 kHz".into())
}

fn capture<T>(
    device: &cpal::Device,
    config: &SupportedStreamConfig,
    to: SyncSender<Vec<f32>>,
) -> Result<cpal::Stream, String>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let channels = usize::from(config.channels()).max(1);
    let mut frame = Vec::with_capacity(FRAME);
    let take = move |samples: &[T], _: &cpal::InputCallbackInfo| {
        for point in samples.chunks_exact(channels) {
            frame.push(point.iter().map(|sample| f32::from_sample(*sample)).sum::<f32>() / channels as f32);
            if frame.len() == FRAME {
                let _ = to.try_send(std::mem::replace(&mut frame, Vec::with_capacity(FRAME)));
            }
        }
    };
    device.build_input_stream(config.config(), take, complain, None).map_err(|error| error.to_string())
}

fn play<T>(
    device: &cpal::Device,
    config: &SupportedStreamConfig,
    from: Receiver<Vec<f32>>,
) -> Result<cpal::Stream, String>
where
    T: SizedSample + FromSample<f32>,
{
    let channels = usize::from(config.channels()).max(1);
    let mut ready = VecDeque::with_capacity(2 * FRAME);
    let give = move |samples: &mut [T], _: &cpal::OutputCallbackInfo| {
        for point in samples.chunks_exact_mut(channels) {
            if ready.is_empty()
                && let Ok(frame) = from.try_recv()
            {
                ready.extend(frame);
            }
            point.fill(ready.pop_front().unwrap_or(0.0).to_sample::<T>());
        }
    };
    device.build_output_stream(config.config(), give, complain, None).map_err(|error| error.to_string())
}

fn complain(error: cpal::Error) {
    tracing::warn!(%error, "sound device");
}
