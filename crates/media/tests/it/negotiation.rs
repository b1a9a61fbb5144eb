//! Offers, answers and updates.

use std::time::Duration;

use dsip_media::audio::signal;
use dsip_media::call::{Codec, Description, Descriptor, Direction, Error, Offer, Offered};

use crate::world::{Path, World, address, at, config, update};

fn tone() -> Vec<f32> {
    signal::tone(440.0, 0.3).take(48_000 * 60).collect()
}

fn offer() -> Description {
    Offer::new(config(), at(0), Direction::SendRecv, &[address("10.0.0.1:4000")]).1
}

fn answer(offer: Description, wish: Direction) -> Result<Description, Error> {
    let mut offered = Offered::new(config(), at(0), offer)?;
    offered.add_local(address("10.0.0.2:5000"));
    Ok(offered.answer(at(0), wish)?.1)
}

#[test]
fn web_44_an_offer_has_what_the_binding_asks_for() {
    let offer = offer();
    for line in [
        "a=group:BUNDLE ",
        "a=rtcp-mux",
        "a=fingerprint:sha-256 ",
        "a=setup:actpass",
        "a=ice-ufrag:",
        "a=ice-pwd:",
        "a=mid:",
        "a=sendrecv",
        "opus/48000/2",
        "useinbandfec=1",
        "usedtx=1",
        "minptime=10",
        "m=audio 9 UDP/TLS/RTP/SAVPF ",
        "a=candidate:",
        "10.0.0.1 4000 typ host",
    ] {
        assert!(offer.sdp.contains(line), "{line} is missing in\n{}", offer.sdp);
    }
    assert!(!offer.sdp.contains("ice-lite") && offer.sdp.starts_with("v=0\r\n"));
    assert_eq!(offer.media, [Descriptor::audio(Direction::SendRecv)]);
}

#[test]
fn web_40_the_answerer_is_the_dtls_client() {
    let answer = answer(offer(), Direction::SendRecv).unwrap();
    assert!(answer.sdp.contains("a=setup:active"), "{}", answer.sdp);
    assert!(answer.sdp.contains("10.0.0.2 5000 typ host"), "{}", answer.sdp);
}

#[test]
fn web_105_screening_only_listens() {
    let answer = answer(offer(), Direction::RecvOnly).unwrap();
    assert!(answer.sdp.contains("a=recvonly") && !answer.sdp.contains("a=sendrecv"), "{}", answer.sdp);
    assert_eq!(answer.media[0].direction, Direction::RecvOnly);
}

#[test]
fn neg_4_a_direction_is_answered_by_what_fits() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (offered, wish, expected) in [
        (SendRecv, SendRecv, SendRecv),
        (SendRecv, SendOnly, SendOnly),
        (SendOnly, SendRecv, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (RecvOnly, SendRecv, SendOnly),
        (Inactive, SendRecv, Inactive),
    ] {
        assert_eq!(offered.answer(wish), expected, "{offered:?} wished {wish:?}");
    }
}

/// What a browser offers: video first, then audio with more codecs than we know.
fn browser_offer() -> Description {
    let sdp = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\n\
a=msid-semantic: WMS stream\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789abcdef01234567\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00\r\n\
a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\n\
a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 109 63 9 0 8 110\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
a=ice-pwd:0123456789abcdef01234567\r\na=ice-options:trickle\r\n\
a=fingerprint:sha-256 11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00\r\n\
a=setup:actpass\r\na=mid:1\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:109 opus/48000/2\r\n\
a=fmtp:109 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 109/109\r\na=rtpmap:9 G722/8000\r\n\
a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:110 telephone-event/48000\r\na=ssrc:1 cname:x\r\n";
    let mut video = Descriptor::audio(Direction::SendRecv);
    video.kind = "video".into();
    video.codecs = vec![Codec { id: "codec:video/vp8".into() }];
    Description { sdp: sdp.into(), media: vec![video, Descriptor::audio(Direction::SendRecv)] }
}

#[test]
fn web_14_video_is_turned_down_and_gets_no_descriptor() {
    let answer = answer(browser_offer(), Direction::SendRecv).unwrap();
    // RFC 8866, 9: a heading without a format is no SDP, and browsers refuse all of it.
    assert!(answer.sdp.contains("m=video 0 UDP/TLS/RTP/SAVPF 0\r\n"), "{}", answer.sdp);
    assert!(answer.sdp.contains("m=audio 9 UDP/TLS/RTP/SAVPF 109"), "{}", answer.sdp);
    assert!(answer.sdp.contains("a=group:BUNDLE 1\r\n"), "{}", answer.sdp);
    assert!(answer.sdp.contains("a=setup:active"), "{}", answer.sdp);
    assert!(answer.sdp.find("m=video") < answer.sdp.find("m=audio"), "WEB-41: same order");
    assert_eq!(answer.media, [Descriptor::audio(Direction::SendRecv)]);
}

#[test]
fn an_offer_without_opus_is_not_for_us() {
    let mut offer = offer();
    offer.media[0].codecs[0].id = "codec:audio/pcmu".into();
    assert_eq!(answer(offer, Direction::SendRecv), Err(Error::NoAudio));
}

#[test]
fn purposes_are_kept() {
    let mut offer = offer();
    offer.media[0].purpose = Some("interpreter".into());
    assert_eq!(answer(offer, Direction::SendRecv).unwrap().media[0].purpose.as_deref(), Some("interpreter"));
}

#[test]
fn descriptors_are_the_protocols_own_json() {
    let json = serde_json::to_string(&Descriptor::audio(Direction::RecvOnly)).unwrap();
    assert_eq!(json, r#"{"type":"audio","direction":"recvonly","codecs":[{"id":"codec:audio/opus"}]}"#);
    let foreign =
        r#"{"type":"audio","direction":"sendrecv","language":"de","codecs":[{"id":"codec:audio/opus","channels":1}]}"#;
    assert_eq!(serde_json::from_str::<Descriptor>(foreign).unwrap(), Descriptor::audio(Direction::SendRecv));
}

#[test]
fn web_83_hold_and_resume() {
    let mut world = World::connected(31, Path::GOOD, (tone(), tone()));
    let credentials =
        |sdp: &str| sdp.lines().filter(|line| line.starts_with("a=ice-") || line.starts_with("a=fing")).count();
    for (wanted, alice_hears, bob_hears) in [
        (Direction::SendOnly, false, true),
        (Direction::Inactive, false, false),
        (Direction::RecvOnly, true, false),
        (Direction::SendRecv, true, true),
        (Direction::SendRecv, true, true),
    ] {
        let answer = update(&mut world, 0, wanted, Direction::SendRecv);
        assert!(credentials(&answer.sdp) >= 3);
        assert_eq!(world.alice().call.direction(), wanted);
        assert_eq!(world.bob().call.direction(), wanted.invert());
        world.run(Duration::from_millis(500));
        let before = [world.alice().report().received, world.bob().report().received];
        world.run(Duration::from_secs(1));
        let after = [world.alice().report().received, world.bob().report().received];
        assert_eq!(after[0] > before[0] + 40, alice_hears, "{wanted:?}: {before:?} {after:?}");
        assert_eq!(after[1] > before[1] + 40, bob_hears, "{wanted:?}: {before:?} {after:?}");
    }
}

#[test]
fn web_106_the_screener_begins_to_talk() {
    let mut world = World::connected(32, Path::GOOD, (tone(), tone()));
    update(&mut world, 1, Direction::RecvOnly, Direction::SendRecv);
    assert_eq!(world.bob().call.direction(), Direction::RecvOnly);
    let update_offer = {
        let now = world.now;
        world.bob().call.offer(now, Direction::SendRecv).unwrap()
    };
    assert!(update_offer.sdp.contains("a=setup:actpass"), "{}", update_offer.sdp);
    let now = world.now;
    let answer = world.alice().call.answer(now, &update_offer, Direction::SendRecv).unwrap();
    world.bob().call.accept(now, &answer.sdp).unwrap();
    let before = world.alice().report().received;
    world.run(Duration::from_secs(2));
    assert!(world.alice().report().received > before + 90);
}

#[test]
fn web_85_a_refused_update_changes_nothing() {
    let mut world = World::connected(33, Path::GOOD, (tone(), tone()));
    let now = world.now;
    world.alice().call.offer(now, Direction::Inactive).unwrap();
    assert_eq!(world.alice().call.offer(now, Direction::SendRecv), Err(Error::Glare), "WEB-84: one at a time");
    world.alice().call.roll_back(now);
    assert_eq!(world.alice().call.direction(), Direction::SendRecv);
    let before = [world.alice().report().received, world.bob().report().received];
    world.run(Duration::from_secs(1));
    assert!(world.alice().report().received > before[0] + 45);
    assert!(world.bob().report().received > before[1] + 45);
    // A later update works.
    update(&mut world, 0, Direction::SendOnly, Direction::SendRecv);
    assert_eq!(world.bob().call.direction(), Direction::RecvOnly);
}

#[test]
fn glare_the_loser_rolls_back_and_answers() {
    let mut world = World::connected(34, Path::GOOD, (tone(), tone()));
    let now = world.now;
    let lost = world.alice().call.offer(now, Direction::Inactive).unwrap();
    let won = world.bob().call.offer(now, Direction::SendOnly).unwrap();
    assert_eq!(world.bob().call.answer(now, &lost, Direction::SendRecv), Err(Error::Glare));
    world.alice().call.roll_back(now);
    let answer = world.alice().call.answer(now, &won, Direction::SendRecv).unwrap();
    world.bob().call.accept(now, &answer.sdp).unwrap();
    assert_eq!(world.alice().call.direction(), Direction::RecvOnly);
    assert_eq!(world.bob().call.direction(), Direction::SendOnly);
    let before = world.alice().report().received;
    world.run(Duration::from_secs(1));
    assert!(world.alice().report().received > before + 45);
}

#[test]
fn web_88_an_ice_restart_is_refused_and_the_call_goes_on() {
    let mut world = World::connected(35, Path::GOOD, (tone(), tone()));
    let now = world.now;
    let mut restart = world.alice().call.offer(now, Direction::SendRecv).unwrap();
    let start = restart.sdp.find("a=ice-pwd:").unwrap() + "a=ice-pwd:".len();
    restart.sdp.replace_range(start..=start, "~");
    assert_eq!(world.bob().call.answer(now, &restart, Direction::SendRecv), Err(Error::IceRestart));
    world.alice().call.roll_back(now);
    let before = world.bob().report().received;
    world.run(Duration::from_secs(1));
    assert!(world.bob().report().received > before + 45);
}

#[test]
fn an_answer_nobody_asked_for_is_refused() {
    let mut world = World::connected(36, Path::GOOD, (tone(), tone()));
    let now = world.now;
    assert_eq!(world.alice().call.accept(now, &offer().sdp), Err(Error::Glare));
    // An unusable answer takes the offer back.
    world.alice().call.offer(now, Direction::Inactive).unwrap();
    assert!(world.alice().call.accept(now, "v=0\r\nrubbish").is_err());
    assert_eq!(world.alice().call.direction(), Direction::SendRecv);
    update(&mut world, 0, Direction::SendRecv, Direction::SendRecv);
}
