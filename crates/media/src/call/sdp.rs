//! The few things we read in SDP or change in it, as text. The engine parses it in full; the protocol judged it before.
//!
//! The reading rules are those of 04 §4: lines end at LF, surrounding white space is dropped, a section's attribute
//! falls back to the session's.

use super::Direction;

/// ICE user fragment and password.
pub(super) type Credentials = (String, String);

fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.split('\n').map(str::trim).filter(|line| line.as_bytes().get(1) == Some(&b'='))
}

/// The session part, then each section, each as its lines.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in lines(sdp) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push(line);
        }
    }
    sections
}

fn attribute<'a>(section: &[&'a str], name: &str) -> Option<&'a str> {
    section.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// Kind and liveness of a section.
fn heading<'a>(section: &[&'a str]) -> Option<(&'a str, bool)> {
    let mut words = section.first()?.strip_prefix("m=")?.split_whitespace();
    let (kind, port) = (words.next()?, words.next()?);
    Some((kind, port.split('/').next() != Some("0")))
}

fn live_audio<'s, 'a>(sections: &'s [Vec<&'a str>]) -> Option<&'s [&'a str]> {
    sections.iter().find(|section| heading(section) == Some(("audio", true))).map(Vec::as_slice)
}

fn direction(line: &str) -> Option<Direction> {
    match line.strip_prefix("a=")? {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

/// The direction of the first live audio section (WEB-24).
pub(super) fn direction_of_audio(sdp: &str) -> Option<Direction> {
    let sections = sections(sdp);
    let audio = live_audio(&sections)?;
    let of = |section: &[&str]| section.iter().find_map(|line| direction(line));
    of(audio).or_else(|| of(sections.first()?)).or(Some(Direction::SendRecv))
}

/// The id of the first live audio section.
pub(super) fn mid_of_audio(sdp: &str) -> Option<&str> {
    let sections = sections(sdp);
    attribute(live_audio(&sections)?, "mid")
}

/// The id of the first live section: the one whose transport all share.
pub(super) fn mid_of_bundle(sdp: &str) -> Option<&str> {
    let sections = sections(sdp);
    let live = sections.iter().find(|section| heading(section).is_some_and(|(_, live)| live))?;
    attribute(live, "mid")
}

/// The DTLS role offered (WEB-25).
pub(super) fn setup(sdp: &str) -> Option<&str> {
    let sections = sections(sdp);
    let live = sections.iter().find(|section| heading(section).is_some_and(|(_, live)| live))?;
    attribute(live, "setup").or_else(|| attribute(sections.first()?, "setup"))
}

/// The ICE credentials of every live section (WEB-25, WEB-88).
pub(super) fn credentials(sdp: &str) -> Vec<Credentials> {
    let sections = sections(sdp);
    let Some((session, media)) = sections.split_first() else { return Vec::new() };
    let live = media.iter().filter(|section| heading(section).is_some_and(|(_, live)| live));
    live.filter_map(|section| {
        let of = |name| attribute(section, name).or_else(|| attribute(session, name)).map(str::to_owned);
        Some((of("ice-ufrag")?, of("ice-pwd")?))
    })
    .collect()
}

/// Whether the author of a description would rather not receive silence (RFC 7587, 6.1).
pub(super) fn wants_dtx(sdp: &str) -> bool {
    let sections = sections(sdp);
    let Some(audio) = live_audio(&sections) else { return false };
    let format = audio.iter().find_map(|line| {
        let (format, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        encoding.to_ascii_lowercase().starts_with("opus/").then_some(format)
    });
    audio.iter().any(|line| {
        let Some((of, parameters)) = line.strip_prefix("a=fmtp:").and_then(|line| line.split_once(' ')) else {
            return false;
        };
        Some(of) == format && parameters.split(';').any(|parameter| parameter.trim() == "usedtx=1")
    })
}

/// The candidates inlined in a description.
pub(super) fn candidates(sdp: &str) -> impl Iterator<Item = &str> {
    lines(sdp).filter_map(|line| line.strip_prefix("a=")).filter(|attribute| attribute.starts_with("candidate:"))
}

/// An offer reduced to what we want to answer: the `keep`-th live section with `direction` (as its author would say it),
/// every other one turned down.
pub(super) fn narrow(offer: &str, keep: usize, direction: Direction) -> String {
    let sections = sections(offer);
    let mut kept_mid = None;
    let mut media = String::new();
    let mut live_index = 0;
    for section in sections.iter().skip(1) {
        let live = heading(section).is_some_and(|(_, live)| live);
        let keep_this = live && live_index == keep;
        live_index += usize::from(live);
        if keep_this {
            kept_mid = attribute(section, "mid");
        }
        for (index, line) in section.iter().enumerate() {
            if self::direction(line).is_some() {
                continue;
            }
            if index == 0 && !keep_this {
                media.push_str(&with_port_zero(line));
            } else {
                media.push_str(line);
            }
            media.push_str("\r\n");
        }
        media.push_str("a=");
        media.push_str(if keep_this { direction.token() } else { Direction::Inactive.token() });
        media.push_str("\r\n");
    }
    let mut narrowed = String::with_capacity(offer.len());
    for line in sections.first().into_iter().flatten() {
        match (line.strip_prefix("a=group:BUNDLE"), kept_mid) {
            (Some(_), Some(mid)) => narrowed.push_str(&format!("a=group:BUNDLE {mid}")),
            _ => narrowed.push_str(line),
        }
        narrowed.push_str("\r\n");
    }
    narrowed + &media
}

/// The same with a format in each heading: the engine writes none where it turns a section down, and no browser reads that (RFC
/// 8866, 9: at least one; RFC 3264, 6: which one does not matter then).
pub(super) fn with_formats(sdp: &str) -> String {
    let mut whole = String::with_capacity(sdp.len() + 8);
    for line in sdp.split_inclusive('\n') {
        let text = line.trim_end();
        if text.starts_with("m=") && text.split_whitespace().count() == 3 {
            whole.push_str(text);
            whole.push_str(" 0\r\n");
        } else {
            whole.push_str(line);
        }
    }
    whole
}

fn with_port_zero(heading: &str) -> String {
    let mut words: Vec<&str> = heading.split_whitespace().collect();
    if let Some(port) = words.get_mut(1) {
        *port = "0";
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=setup:actpass\r\n\
        a=ice-ufrag:session\r\na=ice-pwd:secret\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=sendonly\r\na=ice-ufrag:own\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=candidate:1 1 udp 5 10.0.0.1 9 typ host\r\n";

    #[test]
    fn web_24_25_attributes_fall_back_to_the_session() {
        assert_eq!(direction_of_audio(OFFER), Some(Direction::SendRecv));
        assert_eq!(setup(OFFER), Some("actpass"));
        assert_eq!(credentials(OFFER), [("own".into(), "secret".into()), ("session".into(), "secret".into())]);
        assert_eq!((mid_of_audio(OFFER), mid_of_bundle(OFFER)), (Some("1"), Some("0")));
        assert_eq!(candidates(OFFER).count(), 1);
    }

    #[test]
    fn web_14_narrowing_turns_the_rest_down() {
        let narrowed = narrow(OFFER, 1, Direction::SendOnly);
        assert!(narrowed.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"), "{narrowed}");
        assert!(narrowed.contains("a=group:BUNDLE 1\r\n"), "{narrowed}");
        assert!(narrowed.ends_with("a=sendonly\r\n"), "{narrowed}");
        assert_eq!(direction_of_audio(&narrowed), Some(Direction::SendOnly));
        assert_eq!(credentials(&narrowed).len(), 1);
    }

    #[test]
    fn dtx_is_a_wish_of_opus_alone() {
        let audio = |fmtp: &str| format!("{OFFER}a=rtpmap:111 OPUS/48000/2\r\na=rtpmap:9 G722/8000\r\n{fmtp}\r\n");
        assert!(wants_dtx(&audio("a=fmtp:111 minptime=10; usedtx=1;useinbandfec=1")));
        assert!(!wants_dtx(&audio("a=fmtp:111 minptime=10;usedtx=0")));
        assert!(!wants_dtx(&audio("a=fmtp:9 usedtx=1")));
        assert!(!wants_dtx(OFFER));
    }

    #[test]
    fn rubbish_yields_nothing() {
        let no_audio = ["", "\n\n", "m=", "m=audio", "a=mid:1", "=\n==\nm= = ="];
        // A heading alone is a section already, and what goes without saying is both ways.
        let audio = ["m=audio x", "v=0\nm=audio 9\na="];
        let directions = no_audio.map(|text| (text, None)).into_iter();
        for (text, direction) in directions.chain(audio.map(|text| (text, Some(Direction::SendRecv)))) {
            assert_eq!(direction_of_audio(text), direction, "{text:?}");
            assert_eq!(mid_of_audio(text), None, "{text:?}");
            assert_eq!(credentials(text), [], "{text:?}");
            let narrowed = narrow(text, 0, Direction::SendRecv);
            assert_eq!(direction_of_audio(&narrowed), direction, "{text:?} became {narrowed:?}");
            assert_eq!(mid_of_audio(&narrowed), None, "{text:?} became {narrowed:?}");
            assert_eq!(credentials(&narrowed), [], "{text:?} became {narrowed:?}");
        }
    }
}
