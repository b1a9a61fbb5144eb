//! Connections to a TURN server over TCP and TLS, for networks that let no UDP through.
//!
//! A [`Stream`] carries whole messages (RFC 8656, 12.5); what they mean is for [`dsip_media::turn::client`] to say. Media is
//! worth nothing when it is late, so a connection that does not take what it is given loses it instead of queueing it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dsip_media::turn::Frames;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Messages that may wait, each way: more than a second of speech.
const QUEUE: usize = 64;

/// Octets read at once.
const READ: usize = 4096;

/// How long the last words may take to leave.
const LINGER: Duration = Duration::from_secs(2);

/// How TURN is spoken to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// In datagrams.
    Udp,
    /// Over a TCP connection.
    Tcp,
    /// Over TLS on TCP, which is what gets through where nothing else does.
    Tls,
}

impl Via {
    /// All, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// What a TURN server's certificate has to show: the same as that of the node whose server it is.
#[derive(Clone)]
pub struct Secure {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An open connection. Dropping it lets what was sent leave, and closes it.
#[derive(Debug)]
pub struct Stream {
    local: SocketAddr,
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: mpsc::Receiver<Vec<u8>>,
    reader: AbortHandle,
}

impl Stream {
    /// Connects to `server` from the address `from` of this machine, if one is given, and over TLS if `secure` says what
    /// to expect. The caller sets the deadline.
    ///
    /// # Errors
    /// As the system or TLS puts it.
    pub async fn connect(server: SocketAddr, from: Option<IpAddr>, secure: Option<&Secure>) -> io::Result<Self> {
        let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let tcp = socket.connect(server).await?;
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        match secure {
            None => Ok(Self::over(tcp, local)),
            Some(Secure { config, name }) => {
                Ok(Self::over(TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?, local))
            }
        }
    }

    fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static, local: SocketAddr) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (received, incoming) = mpsc::channel(QUEUE);
        tokio::spawn(send(write, to_send));
        let reader = tokio::spawn(receive(read, received)).abort_handle();
        Self { local, outgoing, incoming, reader }
    }

    /// Our end of the connection.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where messages for the server go.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender(self.outgoing.clone())
    }

    /// Sends one message at once or not at all.
    pub fn send(&self, message: Vec<u8>) {
        // What does not fit is late; what is worth repeating is repeated by who said it.
        let _ = self.outgoing.try_send(message);
    }

    /// The next message; none once the connection has ended. Nothing is lost by not waiting for it.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        self.incoming.recv().await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The sending half of a [`Stream`].
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Vec<u8>>);

impl Sender {
    /// As [`Stream::send`].
    pub fn send(&self, message: Vec<u8>) {
        let _ = self.0.try_send(message);
    }
}

async fn receive(mut stream: impl AsyncRead + Unpin, to: mpsc::Sender<Vec<u8>>) {
    let (mut frames, mut octets) = (Frames::default(), vec![0; READ]);
    loop {
        let read = match stream.read(&mut octets).await {
            Ok(read) if read > 0 => read,
            ended => return tracing::debug!(?ended, "the TURN server ended the connection"),
        };
        frames.push(octets.get(..read).unwrap_or_default());
        loop {
            match frames.pop() {
                Ok(Some(frame)) => {
                    if let Err(mpsc::error::TrySendError::Closed(_)) = to.try_send(frame.to_vec()) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return tracing::debug!(%error, "the TURN server talks nonsense"),
            }
        }
    }
}

async fn send(mut stream: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Vec<u8>>) {
    let written = async {
        while let Some(message) = messages.recv().await {
            stream.write_all(&message).await?;
            while let Ok(message) = messages.try_recv() {
                stream.write_all(&message).await?;
            }
            stream.flush().await?;
        }
        timeout(LINGER, stream.shutdown()).await?
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "not sent to the TURN server");
    }
}
