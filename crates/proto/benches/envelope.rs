//! What it costs to judge and to sign an invite, as a share of the bare Ed25519 operation on the same bytes.
//!
//! `cargo bench -p dsip-proto --bench envelope`. Both sides are timed alternately in one run and the fastest of many rounds
//! counts, so a busy machine moves the times but hardly the shares. Aim: at least 80 %, whatever the window holds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dsip_proto::envelope::{Connection, Limits, Signer, Supported, Verifier};
use dsip_proto::identity::{Delegation, Documents, SecretKey, delegate};
use dsip_proto::time::{Now, Seed, Tick, Wall};
use dsip_proto::wire::media::{ClaimedIdentity, MediaDescriptor, Transport, VersionBlock};
use dsip_proto::wire::message::{Bye, Common, Invite};
use dsip_proto::wire::token::{CodecId, Direction, MediaType, ProfileId, TransportId};
use dsip_proto::wire::{Did, Envelope, Message, Reason, Ulid, base64url};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};

const NOW: Now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_770_000_000) };
const ROUNDS: usize = 300;
const PER_ROUND: usize = 10;
const WINDOWS: [usize; 3] = [0, 10_000, 300_000];

/// What a browser offers for one audio section, with its candidates gathered.
const SDP: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS 8b1b3a5e\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n\
c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:Yq3T\r\na=ice-pwd:8f2s7bGk0bqJmT0uQ1l5f9aZ\r\n\
a=ice-options:trickle\r\na=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r\n\
a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
a=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:9 G722/8000\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\n\
a=rtpmap:126 telephone-event/8000\r\na=ssrc:2231627014 cname:4TOk42mSjXCkVIa6\r\n\
a=candidate:1 1 udp 2130706431 192.0.2.10 54400 typ host\r\na=candidate:2 1 udp 1694498815 203.0.113.7 61000 typ srflx raddr 192.0.2.10 rport 54400\r\n";

fn main() {
    let device = SecretKey::from_bytes(&[1; 32]);
    let signer = delegated_signer(&device);
    let messages: Vec<Message> = (0..(WINDOWS.len() * ROUNDS * PER_ROUND) as u64).map(|n| invite(&signer, n)).collect();
    let envelopes: Vec<Envelope> = messages.iter().map(|message| signer.sign(message)).collect();
    let size = envelopes[0].size();
    println!(
        "an invite of {} bytes, {size} as an envelope, its header delegation known\n",
        messages[0].to_json().len()
    );

    let raw = RawKey::new(&device);
    let mut frames = envelopes.iter();
    for window in WINDOWS {
        let mut verifier = filled_verifier(window);
        // The first frame of a device brings its header; the others repeat it.
        judge(&mut verifier, &signer.sign(&invite(&signer, u64::MAX)).text());
        let (mut bare, mut strict, mut whole) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let round: Vec<&Envelope> = frames.by_ref().take(PER_ROUND).collect();
            let texts: Vec<String> = round.iter().map(|envelope| envelope.text()).collect();
            let inputs: Vec<(String, Signature)> = round.iter().map(|envelope| RawKey::input(envelope)).collect();
            bare = bare.min(time(&inputs, |(input, signature)| raw.verify(input, signature)));
            strict = strict.min(time(&inputs, |(input, signature)| raw.verify_strict(input, signature)));
            whole = whole.min(time(&texts, |text| judge(&mut verifier, text)));
        }
        report(&format!("verify, {window} ids in the window"), whole, &[("verify", bare), ("verify_strict", strict)]);
    }

    let (mut bare, mut whole) = (Duration::MAX, Duration::MAX);
    for round in messages.chunks(PER_ROUND).take(ROUNDS) {
        let inputs: Vec<String> = round.iter().map(|message| RawKey::input(&signer.sign(message)).0).collect();
        bare = bare.min(time(&inputs, |input| raw.sign(input)));
        whole = whole.min(time(round, |message| signer.sign(message).text()));
    }
    report("sign", whole, &[("sign", bare)]);
}

/// The mean time of `run` over `items`.
#[expect(clippy::disallowed_methods, reason = "a benchmark is about time")]
fn time<T, R>(items: &[T], mut run: impl FnMut(&T) -> R) -> Duration {
    let start = Instant::now();
    for item in items {
        black_box(run(item));
    }
    start.elapsed() / u32::try_from(items.len()).expect("a round is small")
}

fn report(what: &str, whole: Duration, bare: &[(&str, Duration)]) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let shares: Vec<String> = bare
        .iter()
        .map(|(name, time)| {
            format!("{:.0} % of bare {name} ({:.2} µs)", 100.0 * micros(*time) / micros(whole), micros(*time))
        })
        .collect();
    println!("{what:36} {:6.2} µs   {}", micros(whole), shares.join(", "));
}

fn judge(verifier: &mut Verifier, frame: &str) {
    let verdict = verifier.verify(frame, NOW, &Documents::default(), Connection::default());
    assert!(verdict.is_ok(), "a good invite");
}

/// A verifier that has judged so many messages of other devices lately.
fn filled_verifier(ids: usize) -> Verifier {
    const PER_SENDER: usize = 10_000;
    let limits = Limits { live_per_sender: PER_SENDER.max(ROUNDS * PER_ROUND + 1), ..Limits::default() };
    let mut verifier = Verifier::with_limits(Supported::default(), limits, Seed::new([7; 32]));
    for at in 0..ids {
        if at % PER_SENDER == 0 && at > 0 {
            assert_eq!(verifier.seen().len(), at);
        }
        let mut secret = [3; 32];
        secret[0] = u8::try_from(at / PER_SENDER).expect("few senders");
        let signer = Signer::of_key(SecretKey::from_bytes(&secret));
        let common = Common { dsip: VersionBlock::new(&[]), ..common(&signer, signer.kid().did(), at as u64) };
        let session = common.id;
        let bye = Bye { common, to: nobody(), session, reason: Reason::USER_HANGUP, detail: None, retry_after: None };
        judge(&mut verifier, &signer.sign(&bye.into()).text());
    }
    assert_eq!(verifier.seen().len(), ids);
    verifier
}

fn delegated_signer(device: &SecretKey) -> Signer {
    let identity = SecretKey::from_bytes(&[2; 32]);
    let capabilities = [Delegation::SIGNALING, Delegation::INTERACTIVE_MEDIA];
    let (since, until) = (NOW.wall.secs() - 86_400, NOW.wall.secs() + 86_400);
    let delegation = delegate(&identity, &identity.public().kid(), &device.did(), &capabilities, since, until);
    Signer::new(device.clone(), device.public().kid(), vec![delegation])
}

fn invite(signer: &Signer, n: u64) -> Message {
    let transport = Transport::new(TransportId::WEBRTC).with_sdp("trickle", SDP);
    Invite {
        common: common(signer, signer.kid().did(), n),
        to: nobody(),
        media: vec![MediaDescriptor::new(MediaType::Audio, Direction::SendRecv, &[CodecId::OPUS, CodecId::PCMU])],
        transports: vec![transport],
        intent: "interactive".parse().ok(),
        identity: Some(ClaimedIdentity { display_name: Some("Ada Lovelace".into()), claims: Some(Vec::new()) }),
        policy: None,
        grant: None,
    }
    .into()
}

fn common(signer: &Signer, from: &Did, n: u64) -> Common {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    seed[8..16].copy_from_slice(&signer.kid().fragment().as_bytes()[8..16]);
    Common {
        dsip: VersionBlock::new(&[ProfileId::INTERACTIVE_MEDIA]),
        id: Ulid::generate(NOW.wall, &mut Seed::new(seed).into_rng()),
        from: from.clone(),
        issued_at: NOW.wall.secs(),
        expires_at: NOW.wall.secs() + 30,
    }
}

fn nobody() -> Did {
    "did:web:grace.example".parse().expect("a DID")
}

/// The bare Ed25519 operations.
struct RawKey(SigningKey);

impl RawKey {
    fn new(key: &SecretKey) -> Self {
        Self(SigningKey::from_bytes(&key.to_bytes()))
    }

    fn input(envelope: &Envelope) -> (String, Signature) {
        let signature = base64url::decode(envelope.signature()).expect("base64url");
        let input = format!("{}.{}", envelope.protected(), envelope.payload());
        (input, Signature::from_slice(&signature).expect("64 octets"))
    }

    fn verify(&self, input: &str, signature: &Signature) {
        self.0.verifying_key().verify(input.as_bytes(), signature).expect("a good signature");
    }

    fn verify_strict(&self, input: &str, signature: &Signature) {
        self.0.verifying_key().verify_strict(input.as_bytes(), signature).expect("a good signature");
    }

    fn sign(&self, input: &str) -> Signature {
        self.0.sign(input.as_bytes())
    }
}
