//! Raw samples from and to another program: 16 bit little-endian, mono, 48 kHz.

use std::process::Stdio;

use dsip_media::codec::FRAME;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Error;
use super::wav::to_i16;

/// Frames between the program and the call: as much as a pipe may run ahead or fall behind.
const DEPTH: usize = 25;

/// A program, or standard input, that yields samples.
pub(super) struct Reader {
    frames: mpsc::Receiver<Vec<f32>>,
    task: JoinHandle<()>,
    child: Option<Child>,
    ended: bool,
}

impl Reader {
    pub(super) fn command(command: &str) -> Result<Self, Error> {
        let mut child = shell(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::new(command, error))?;
        let Some(stdout) = child.stdout.take() else { return Err(Error::new(command, "has no output")) };
        Ok(Self::stream(stdout, Some(child)))
    }

    pub(super) fn stdin() -> Self {
        Self::stream(tokio::io::stdin(), None)
    }

    fn stream(mut from: impl AsyncRead + Unpin + Send + 'static, child: Option<Child>) -> Self {
        let (sender, frames) = mpsc::channel(DEPTH);
        let task = tokio::spawn(async move {
            let mut bytes = vec![0; 2 * FRAME];
            // A full channel stops the reading, and with it the program.
            while from.read_exact(&mut bytes).await.is_ok() {
                let pcm =
                    bytes.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0);
                if sender.send(pcm.collect()).await.is_err() {
                    return;
                }
            }
        });
        Self { frames, task, child, ended: false }
    }

    /// The next frame, or silence if the program is late.
    pub(super) fn next(&mut self) -> Vec<f32> {
        match self.frames.try_recv() {
            Ok(frame) => frame,
            Err(error) => {
                self.ended = error == mpsc::error::TryRecvError::Disconnected;
                vec![0.0; FRAME]
            }
        }
    }

    pub(super) const fn ended(&self) -> bool {
        self.ended
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }
}

/// A program, or standard output, that takes samples.
pub(super) struct Writer {
    frames: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<std::io::Result<()>>,
    child: Option<Child>,
}

impl Writer {
    pub(super) fn command(command: &str) -> Result<Self, Error> {
        let mut child = shell(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Error::new(command, error))?;
        let Some(stdin) = child.stdin.take() else { return Err(Error::new(command, "has no input")) };
        Ok(Self { child: Some(child), ..Self::stream(stdin) })
    }

    pub(super) fn stdout() -> Self {
        Self::stream(tokio::io::stdout())
    }

    fn stream(mut to: impl AsyncWrite + Unpin + Send + 'static) -> Self {
        let (frames, mut receiver) = mpsc::channel::<Vec<u8>>(DEPTH);
        let task = tokio::spawn(async move {
            while let Some(bytes) = receiver.recv().await {
                to.write_all(&bytes).await?;
            }
            to.flush().await?;
            to.shutdown().await
        });
        Self { frames, task, child: None }
    }

    /// Hands a frame over. A program that does not keep up loses it; the call goes on.
    pub(super) fn write(&self, pcm: &[f32]) -> Result<(), String> {
        let bytes = pcm.iter().flat_map(|sample| to_i16(*sample).to_le_bytes()).collect();
        match self.frames.try_send(bytes) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err("the program takes no more audio".into()),
            _ => Ok(()),
        }
    }

    /// Lets the program finish what it was given, for two seconds at most.
    pub(super) async fn finish(self) -> Result<(), String> {
        let Self { frames, task, child } = self;
        drop(frames);
        let patience = std::time::Duration::from_secs(2);
        let finished = async move {
            let written = task.await.map_err(|error| error.to_string())?;
            if let Some(mut child) = child {
                child.wait().await.map_err(|error| error.to_string())?;
            }
            written.map_err(|error| error.to_string())
        };
        tokio::time::timeout(patience, finished).await.map_err(|_| "the program does not end".to_owned())?
    }
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).kill_on_drop(true);
    shell
}
