//! What is on a QUIC stream: a preamble, then frames (QB-10 to QB-13, QB-61). Octets in, octets out; nothing here knows QUIC.

use std::io;

use dsip_proto::wire::Ulid;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{MAX_FRAME, Stream};

/// What every stream begins with: the session's id, or zero on the control stream (QB-10). Frames follow (QB-11).
const PREAMBLE: usize = 16;

/// What is read instead of a length before a mark and before an echo (QB-61). Neither is a length that QB-12 allows.
const MARK: u32 = 0x8000_0000;
const ECHO: u32 = 0x8000_0001;

/// What travels on a stream: an envelope, or with a peer that knows them (QB-60) a mark or its echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<T> {
    /// An envelope.
    Text(T),
    /// A question: has everything before it been read?
    Mark(u64),
    /// The answer.
    Echo(u64),
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A frame is announced that is larger than any may be (QB-12).
    #[error("a frame of more than {MAX_FRAME} octets")]
    TooLarge,
    /// The stream ends within its preamble or a frame (QB-13).
    #[error("it ends before what it announced")]
    Cut,
    /// An envelope is UTF-8 (QB-11).
    #[error("an envelope that is no UTF-8")]
    NotText,
    /// The octets stopped coming.
    #[error(transparent)]
    Lost(#[from] io::Error),
}

impl<T: AsRef<str>> Frame<T> {
    /// As it is written on the stream.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let with = |word: u32, rest: &[u8]| [&word.to_be_bytes()[..], rest].concat();
        match self {
            Self::Text(text) => {
                let text = text.as_ref().as_bytes();
                with(u32::try_from(text.len()).unwrap_or(u32::MAX), text)
            }
            Self::Mark(number) => with(MARK, &number.to_be_bytes()),
            Self::Echo(number) => with(ECHO, &number.to_be_bytes()),
        }
    }
}

/// What a stream for this begins with.
#[must_use]
pub fn preamble(stream: Stream) -> [u8; PREAMBLE] {
    let session = match stream {
        Stream::Control => 0,
        Stream::Session(id) => id.to_bits(),
    };
    session.to_be_bytes()
}

/// What a stream is for, from its first octets.
///
/// # Errors
/// [`Broken::Cut`] or [`Broken::Lost`].
pub async fn read_preamble(from: &mut (impl AsyncRead + Unpin)) -> Result<Stream, Broken> {
    let mut octets = [0; PREAMBLE];
    fill(from, &mut octets).await?;
    Ok(match u128::from_be_bytes(octets) {
        0 => Stream::Control,
        // QB-10: 128 bits, so every value is the id of some session.
        id => Stream::Session(Ulid::from_bits(id)),
    })
}

/// The next frame, none at the stream's end.
///
/// # Errors
/// [`Broken`], and what it is; nothing more can be read then.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame<String>>, Broken> {
    let mut prefix = [0; 4];
    let Some((first, rest)) = prefix.split_first_mut() else { return Ok(None) };
    if from.read(std::slice::from_mut(first)).await? == 0 {
        return Ok(None);
    }
    fill(from, rest).await?;
    let word = u32::from_be_bytes(prefix);
    if word == MARK || word == ECHO {
        let mut number = [0; 8];
        fill(from, &mut number).await?;
        let number = u64::from_be_bytes(number);
        return Ok(Some(if word == MARK { Frame::Mark(number) } else { Frame::Echo(number) }));
    }
    let length = usize::try_from(word).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(Broken::TooLarge);
    }
    // A promised length costs little until its octets are here.
    let mut text = Vec::with_capacity(length.min(4096));
    from.take(u64::from(word)).read_to_end(&mut text).await?;
    if text.len() < length {
        return Err(Broken::Cut);
    }
    String::from_utf8(text).map(|text| Some(Frame::Text(text))).map_err(|_| Broken::NotText)
}

async fn fill(from: &mut (impl AsyncRead + Unpin), octets: &mut [u8]) -> Result<(), Broken> {
    match from.read_exact(octets).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Broken::Cut),
        Err(error) => Err(error.into()),
    }
}
