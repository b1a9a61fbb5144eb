//! str0m behind our own words: the only file that knows it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dsip_proto::time::Tick;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::{CryptoProvider, DtlsVersion};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction as Flow, Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionMap, RtpWrite, SeqNo};
use str0m::{Candidate as IceCandidate, CandidateKind, Event, Input, Rtc, RtcConfig, RtcError};

use super::{Candidate, Datagram, Direction, Error, Failure, Frame, Origin, sdp};

/// How often RTCP reports and our own statistics are made. RFC 4585 lets audio report this often within its 5 %.
const REPORTS: Duration = Duration::from_secs(1);

/// The longest pause between two checks of a pair: what path supervision relies on.
const CHECKS: Duration = Duration::from_secs(1);

/// How many checks may go unanswered before a pair is given up: half a minute of them, since the other side of a NAT may
/// still be about to open.
const UNANSWERED: usize = 30;

/// How many errors in a row end the engine. A packet that merely cannot be read yields one and the next one works.
const ERRORS: usize = 32;

/// The payload type we offer Opus under.
const PT_OPUS: u8 = 111;

/// What kind of packet came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A connectivity check or its response, authentic.
    Check,
    /// Handshake, RTP or RTCP.
    Media,
}

/// What the engine has to say, one at a time.
#[derive(Debug)]
pub(super) enum Happening {
    Transmit { source: SocketAddr, destination: SocketAddr, payload: Vec<u8> },
    Connected,
    Frame(Frame),
    Loss(f32),
    Report { round_trip: Option<Duration>, path: Option<(SocketAddr, SocketAddr)>, relayed: bool },
    Closed,
    Failed(Failure),
    Idle(Tick),
}

/// An offer that the engine has outstanding. Dropping it takes the offer back.
pub(super) struct Pending {
    offer: SdpPendingOffer,
    mid: Mid,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("mid", &self.mid).finish_non_exhaustive()
    }
}

pub(super) struct Engine {
    rtc: Rtc,
    origin: Origin,
    /// The section that carries our audio.
    mid: Option<Mid>,
    /// The section that carries the bundle, which candidates are said to belong to.
    bundle_mid: Option<String>,
    locals: Vec<(SocketAddr, IceCandidate)>,
    remotes: Vec<IceCandidate>,
    peer_credentials: Option<sdp::Credentials>,
    peer_wants_dtx: bool,
    next_seq: u64,
    errors: usize,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("mid", &self.mid).finish_non_exhaustive()
    }
}

/// The cryptography of DTLS and SRTP, passed as a value: nothing process-wide is installed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(str0m_rust_crypto::default_provider())
}

/// Does once what the first certificate of a process waits for: the entropy pool behind it takes some 40 ms to start, which
/// a call that is being set up would spend. Blocks for that long.
pub fn prepare() {
    drop(provider().dtls_provider.generate_certificate());
}

impl Engine {
    pub(super) fn new(origin: Origin, now: Tick) -> Self {
        // Only what audio needs is negotiated: the section's id, so that a bundle can be told apart. Audio levels are left
        // out on purpose: outside encrypted extensions they would tell an observer who speaks when (RFC 6464, 6).
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::RtpMid);
        let mut config = RtcConfig::new()
            .set_crypto_provider(provider())
            .clear_codecs()
            .set_extension_map(extensions)
            .set_rtp_mode(true)
            .set_stats_interval(Some(REPORTS))
            .set_rtcp_report_interval_audio(REPORTS)
            // 1.3 would save the callee a round trip, but the 1.3 client of dimpl 0.7.6 does not stop its connect timer when
            // it connects, and ends the call after 40 s.
            .set_dtls_version(DtlsVersion::Dtls12);
        config.set_max_stun_rto(CHECKS);
        config.set_max_stun_retransmits(UNANSWERED);
        let opus = FormatParams {
            min_p_time: Some(10),
            use_inband_fec: Some(true),
            use_dtx: Some(true),
            ..FormatParams::default()
        };
        config.codec_config().add_config(PT_OPUS.into(), None, Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2), opus);
        Self {
            rtc: config.build(origin.instant(now)),
            origin,
            mid: None,
            bundle_mid: None,
            locals: Vec::new(),
            remotes: Vec::new(),
            peer_credentials: None,
            peer_wants_dtx: false,
            next_seq: 0,
            errors: 0,
        }
    }

    pub(super) fn offer(&mut self, direction: Direction) -> (String, Pending) {
        let mut api = self.rtc.sdp_api();
        let mid = api.add_media(MediaKind::Audio, flow(direction), None, None, None);
        #[expect(clippy::expect_used, reason = "apply returns None only without changes, and one was just made")]
        let (offer, pending) = api.apply().expect("an offer with one new section");
        self.bundle_mid = Some(mid.to_string());
        (sdp::with_formats(&offer.to_sdp_string()), Pending { offer: pending, mid })
    }

    /// Offers again with the same credentials. `None` before anything was negotiated.
    pub(super) fn reoffer(&mut self, direction: Direction, current: Direction) -> Option<(String, Pending)> {
        let mid = self.mid?;
        let mut api = self.rtc.sdp_api();
        // The engine offers only changes, but an update that changes nothing is legal too (it may carry new candidates).
        let detour = if current == Direction::Inactive { Direction::SendRecv } else { Direction::Inactive };
        api.set_direction(mid, flow(detour));
        api.set_direction(mid, flow(direction));
        let (offer, pending) = api.apply()?;
        Some((sdp::with_formats(&offer.to_sdp_string()), Pending { offer: pending, mid }))
    }

    /// Goes back to the description before our outstanding offer (WEB-85).
    pub(super) fn roll_back(&mut self, direction: Direction) {
        if let Some(mid) = self.mid {
            self.rtc.sdp_api().set_direction(mid, flow(direction));
        }
    }

    pub(super) fn accept_answer(&mut self, now: Tick, pending: Pending, answer: &str) -> Result<(), Error> {
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(|error| Error::Sdp(error.to_string()))?;
        self.check_credentials(answer)?;
        self.advance(now);
        self.rtc.sdp_api().accept_answer(pending.offer, parsed).map_err(|error| Error::Sdp(error.to_string()))?;
        self.mid = Some(pending.mid);
        self.learn(answer);
        Ok(())
    }

    pub(super) fn accept_offer(&mut self, now: Tick, offer: &str) -> Result<String, Error> {
        let parsed = SdpOffer::from_sdp_string(offer).map_err(|error| Error::Sdp(error.to_string()))?;
        let Some(mid) = sdp::mid_of_audio(offer) else { return Err(Error::NoAudio) };
        self.check_credentials(offer)?;
        self.advance(now);
        if self.mid.is_none() && sdp::setup(offer) == Some("actpass") {
            // WEB-40: the answerer is the DTLS client. Left to itself the engine would wait to be called.
            let mut api = self.rtc.direct_api();
            api.set_ice_controlling(false);
            api.start_dtls(true).map_err(|error| Error::Sdp(error.to_string()))?;
        }
        let answer = self.rtc.sdp_api().accept_offer(parsed).map_err(|error| Error::Sdp(error.to_string()))?;
        self.mid = Some(Mid::from(mid));
        self.bundle_mid = sdp::mid_of_bundle(offer).map(str::to_owned);
        self.learn(offer);
        Ok(sdp::with_formats(&answer.to_sdp_string()))
    }

    /// WEB-88: neither user fragment nor password of any live section may change.
    fn check_credentials(&self, description: &str) -> Result<(), Error> {
        let all = sdp::credentials(description);
        match &self.peer_credentials {
            Some(known) if all.iter().any(|new| new != known) => Err(Error::IceRestart),
            _ => Ok(()),
        }
    }

    fn learn(&mut self, description: &str) {
        self.peer_wants_dtx = sdp::wants_dtx(description);
        self.peer_credentials = sdp::credentials(description).into_iter().next().or(self.peer_credentials.take());
        let inlined = sdp::candidates(description).filter_map(|line| IceCandidate::from_sdp_string(line).ok());
        self.remotes.extend(inlined);
    }

    pub(super) const fn peer_wants_dtx(&self) -> bool {
        self.peer_wants_dtx
    }

    /// Lets the engine know how late it is before a handshake starts, or it would take the ringing for silence.
    fn advance(&mut self, now: Tick) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(self.origin.instant(now))) {
            tracing::debug!(%error, "engine refused the time");
        }
    }

    pub(super) fn add_local(&mut self, local: SocketAddr) -> Option<Candidate> {
        let candidate = IceCandidate::host(local, Protocol::Udp).ok()?;
        self.add_local_candidate(local, candidate)
    }

    pub(super) fn add_reflexive(&mut self, seen: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        let candidate = IceCandidate::server_reflexive(seen, base, Protocol::Udp).ok()?;
        self.add_local_candidate(base, candidate)
    }

    pub(super) fn add_relayed(&mut self, relayed: SocketAddr, base: SocketAddr) -> Option<Candidate> {
        let candidate = IceCandidate::relayed(relayed, base, Protocol::Udp).ok()?;
        // Packets of this candidate come from and go to the relayed address: it is its own base.
        self.add_local_candidate(relayed, candidate)
    }

    fn add_local_candidate(&mut self, base: SocketAddr, candidate: IceCandidate) -> Option<Candidate> {
        let added = self.rtc.add_local_candidate(candidate)?.clone();
        let text = added.to_sdp_string();
        self.locals.push((base, added));
        Some(Candidate { candidate: text, sdp_mid: self.bundle_mid.clone().unwrap_or_default() })
    }

    pub(super) fn drop_local(&mut self, local: SocketAddr) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.locals).into_iter().partition(|(b, _)| *b == local);
        self.locals = kept;
        for (_, candidate) in gone {
            self.rtc.direct_api().invalidate_candidate(&candidate);
        }
    }

    pub(super) fn add_remote(&mut self, candidate: &str) -> bool {
        let Ok(candidate) = IceCandidate::from_sdp_string(candidate) else { return false };
        self.remotes.push(candidate.clone());
        self.rtc.add_remote_candidate(candidate);
        true
    }

    /// Takes back what is believed of every pair with this remote address. They are formed anew and must prove themselves.
    pub(super) fn doubt_remote(&mut self, remote: SocketAddr) {
        let known: Vec<_> = self.remotes.iter().filter(|known| known.addr() == remote).cloned().collect();
        for candidate in known.iter().chain(reflexive(remote).iter()) {
            self.rtc.direct_api().invalidate_candidate(candidate);
        }
        if let Ok(candidate) = IceCandidate::host(remote, Protocol::Udp) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// Takes back what is believed of every pair with this local address. They are formed anew and must prove themselves.
    pub(super) fn doubt_local(&mut self, local: SocketAddr) {
        for (base, candidate) in &self.locals {
            if *base == local {
                self.rtc.direct_api().invalidate_candidate(candidate);
                self.rtc.add_local_candidate(candidate.clone());
            }
        }
    }

    /// Forms the pairs anew that were given up for lack of an answer.
    pub(super) fn retry_remotes(&mut self) {
        for candidate in &self.remotes {
            self.rtc.add_remote_candidate(candidate.clone());
        }
    }

    /// Whether a datagram is something for this call, and what. Checks are authenticated here.
    pub(super) fn classify(&self, now: Tick, datagram: Datagram<'_>) -> Option<Kind> {
        let first = *datagram.payload.first()?;
        if first >= 20 {
            return Some(Kind::Media);
        }
        let input = self.input(now, datagram)?;
        self.rtc.accepts(&input).then_some(Kind::Check)
    }

    fn input<'a>(&self, now: Tick, datagram: Datagram<'a>) -> Option<Input<'a>> {
        let Datagram { source, destination, payload } = datagram;
        let receive = Receive::new(Protocol::Udp, source, destination, payload).ok()?;
        Some(Input::Receive(self.origin.instant(now), receive))
    }

    pub(super) fn receive(&mut self, now: Tick, datagram: Datagram<'_>) {
        let Some(input) = self.input(now, datagram) else { return };
        if let Err(error) = self.rtc.handle_input(input) {
            // Anybody on the path can send rubbish under the peer's address; that must not end the call.
            tracing::debug!(%error, "packet refused");
        }
    }

    pub(super) fn tick(&mut self, now: Tick) {
        self.advance(now);
    }

    pub(super) fn send(&mut self, now: Tick, time: u32, marker: bool, payload: &[u8]) -> bool {
        let (Some(mid), Some(pt)) = (self.mid, self.opus()) else { return false };
        let wallclock = self.origin.instant(now);
        let seq = self.next_seq;
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else { return false };
        // RFC 3550, 5.1: both counters start at a random value. The stream's own random number serves.
        let (first_seq, first_time) = (u64::from(*stream.ssrc() & 0x7fff), (*stream.ssrc()).wrapping_mul(0x9e37_79b9));
        let seq_no = SeqNo::from(first_seq + seq);
        stream.write_rtp(RtpWrite::new(pt, seq_no, time.wrapping_add(first_time), wallclock, payload).marker(marker));
        self.next_seq += 1;
        true
    }

    /// The payload type under which the peer wants Opus.
    fn opus(&self) -> Option<Pt> {
        let wanted = self.rtc.media(self.mid?)?.remote_pts();
        self.rtc
            .codec_config()
            .params()
            .iter()
            .find(|p| p.spec().codec == Codec::Opus && wanted.contains(&p.pt()))
            .map(|p| p.pt())
    }

    fn is_opus(&self, pt: Pt) -> bool {
        self.rtc.codec_config().params().iter().any(|p| p.pt() == pt && p.spec().codec == Codec::Opus)
    }

    pub(super) fn close(&mut self) {
        if let Err(error) = self.rtc.close() {
            tracing::debug!(%error, "engine refused to close");
        }
    }

    /// The next thing to know. Ends with [`Happening::Idle`] or [`Happening::Failed`].
    pub(super) fn poll(&mut self) -> Happening {
        loop {
            match self.rtc.poll_output() {
                Ok(output) => {
                    self.errors = 0;
                    if let Some(happening) = self.translate(output) {
                        return happening;
                    }
                }
                Err(RtcError::RemoteSdp(why)) if why.contains("fingerprint") => {
                    return Happening::Failed(Failure::Fingerprint);
                }
                Err(error) => {
                    tracing::debug!(%error, "engine");
                    self.errors += 1;
                    if !self.rtc.is_alive() || self.errors >= ERRORS {
                        return Happening::Failed(Failure::Engine(error.to_string()));
                    }
                }
            }
        }
    }

    fn translate(&self, output: str0m::Output) -> Option<Happening> {
        match output {
            str0m::Output::Timeout(at) => Some(Happening::Idle(self.origin.tick(at))),
            str0m::Output::Transmit(transmit) => Some(Happening::Transmit {
                source: transmit.source,
                destination: transmit.destination,
                payload: transmit.contents.to_vec(),
            }),
            str0m::Output::Event(event) => self.translate_event(event),
        }
    }

    fn is_relayed(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let ours = self.locals.iter().filter(|(base, _)| *base == local).map(|(_, candidate)| candidate);
        let theirs = self.remotes.iter().filter(|candidate| candidate.addr() == remote);
        ours.chain(theirs).any(|candidate| candidate.kind() == CandidateKind::Relayed)
    }

    fn translate_event(&self, event: Event) -> Option<Happening> {
        match event {
            Event::Connected => Some(Happening::Connected),
            Event::RtpPacket(packet) if self.is_opus(packet.header.payload_type) => Some(Happening::Frame(Frame {
                seq: *packet.seq_no,
                time: packet.time.numer(),
                payload: packet.payload.to_vec(),
            })),
            Event::PeerStats(stats) => {
                let pair = stats.selected_candidate_pair;
                let checked = pair.as_ref().and_then(|pair| pair.current_round_trip_time);
                let path = pair.map(|pair| (pair.local.addr, pair.remote.addr));
                let relayed = path.is_some_and(|(local, remote)| self.is_relayed(local, remote));
                Some(Happening::Report { round_trip: stats.rtt.or(checked), path, relayed })
            }
            Event::MediaEgressStats(stats) => stats.loss.map(Happening::Loss),
            Event::Closed => Some(Happening::Closed),
            _ => None,
        }
    }
}

const fn flow(direction: Direction) -> Flow {
    match direction {
        Direction::SendRecv => Flow::SendRecv,
        Direction::SendOnly => Flow::SendOnly,
        Direction::RecvOnly => Flow::RecvOnly,
        Direction::Inactive => Flow::Inactive,
    }
}

/// The candidate by which ICE knows an address that it learnt from a check.
fn reflexive(remote: SocketAddr) -> Option<IceCandidate> {
    let text = format!("candidate:1 1 udp 1 {} {} typ prflx", remote.ip(), remote.port());
    IceCandidate::from_sdp_string(&text).ok()
}
