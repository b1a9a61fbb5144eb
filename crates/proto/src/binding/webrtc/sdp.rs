//! A tolerant SDP reader: section lines and attributes, nothing else (WEB-20 to WEB-26).
//!
//! It is not a grammar. Being stricter than this makes valid peers fail, and what it does not read no check depends on.

use std::collections::BTreeMap;

use super::Codec;
use crate::wire::token::Direction;

/// An SDP text, split into sections. Holding one means the text starts like SDP and every `m=` line in it made sense.
#[derive(Debug, Clone)]
pub struct Sdp<'a> {
    session: Session<'a>,
    sections: Vec<Media<'a>>,
}

/// The text is not SDP, or has an `m=` line without a usable port (WEB-20, WEB-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not readable as SDP")]
pub struct Unparseable;

/// One `a=` line: what stands before the first colon, and what follows it; a property such as `a=rtcp-mux` has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attribute<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// One `m=` section, together with what it inherits from the session level.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a, 'sdp> {
    media: &'sdp Media<'a>,
    session: &'sdp Session<'a>,
}

/// What sections inherit. Looked up by name, for a text may have as many sections as session attributes.
#[derive(Debug, Clone, Default)]
struct Session<'a> {
    direction: Option<Direction>,
    values: BTreeMap<&'a str, &'a str>,
}

#[derive(Debug, Clone)]
struct Media<'a> {
    kind: &'a str,
    live: bool,
    protocol: &'a str,
    formats: Vec<&'a str>,
    attributes: Vec<Attribute<'a>>,
}

impl<'a> Sdp<'a> {
    /// Reads `text`. Lines it has no use for are skipped, however broken (WEB-21, WEB-23).
    pub fn parse(text: &'a str) -> Result<Self, Unparseable> {
        // WEB-20
        if !text.starts_with("v=0") {
            return Err(Unparseable);
        }
        let mut sdp = Self { session: Session::default(), sections: Vec::new() };
        // WEB-21
        for line in text.split('\n').map(str::trim) {
            if let Some(value) = line.strip_prefix("m=") {
                sdp.sections.push(Media::parse(value)?);
            } else if let Some(value) = line.strip_prefix("a=") {
                // WEB-23
                let attribute = Attribute::parse(value);
                match sdp.sections.last_mut() {
                    Some(section) => section.attributes.push(attribute),
                    None => sdp.session.add(attribute),
                }
            }
        }
        Ok(sdp)
    }

    /// Every section, in order, those with port 0 included.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section<'a, '_>> {
        self.sections.iter().map(|media| Section { media, session: &self.session })
    }

    /// The sections whose port is not 0; the i-th pairs with `media[i]` (WEB-10).
    pub fn live(&self) -> impl Iterator<Item = Section<'a, '_>> {
        self.sections().filter(Section::is_live)
    }
}

impl<'a> Section<'a, '_> {
    /// `audio`, `video`, `application` or whatever stands there.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.media.kind
    }

    /// Whether the port is not 0. A section turned down stays in the SDP with port 0 (WEB-14).
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.media.live
    }

    /// The transport protocol, such as `UDP/TLS/RTP/SAVPF`.
    #[must_use]
    pub fn protocol(&self) -> &'a str {
        self.media.protocol
    }

    /// The payload types of the `m=` line, in order.
    #[must_use]
    pub fn formats(&self) -> &[&'a str] {
        &self.media.formats
    }

    /// The first of the section's own direction attributes, else the session's, else both ways (WEB-24).
    #[must_use]
    pub fn direction(&self) -> Direction {
        let own = self.media.attributes.iter().find_map(Attribute::direction);
        own.or(self.session.direction).unwrap_or(Direction::SendRecv)
    }

    /// The first non-empty value of `name` in the section, else at session level (WEB-25).
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let own = self.media.attributes.iter().filter(|a| a.name == name).find_map(Attribute::content);
        own.or_else(|| self.session.values.get(name).copied())
    }

    /// Whether the section itself, not the session, has an attribute `name` (WEB-25 on `rtcp-mux`).
    #[must_use]
    pub fn has_own(&self, name: &str) -> bool {
        self.media.attributes.iter().any(|a| a.name == name)
    }

    /// The section's `a=rtpmap` lines, in order: payload type and encoding name (WEB-26).
    pub fn rtpmaps(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.media.attributes.iter().filter(|a| a.name == "rtpmap").filter_map(|a| {
            let (format, encoding) = a.value?.split_once(' ')?;
            let (name, _) = encoding.split_once('/').unwrap_or((encoding, ""));
            Some((format, name.trim()))
        })
    }

    /// The encodings DSIP has an id for, in order, each once.
    #[must_use]
    pub fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for codec in self.rtpmaps().filter_map(|(_, encoding)| Codec::from_encoding(encoding)) {
            // At most eight codecs exist, so the list stays short whatever a peer repeats.
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }
}

impl<'a> Session<'a> {
    /// The first of several counts (WEB-24, WEB-25).
    fn add(&mut self, attribute: Attribute<'a>) {
        self.direction = self.direction.or_else(|| attribute.direction());
        if let Some(content) = attribute.content() {
            self.values.entry(attribute.name).or_insert(content);
        }
    }
}

impl<'a> Media<'a> {
    // WEB-22
    fn parse(line: &'a str) -> Result<Self, Unparseable> {
        let mut tokens = line.split_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (tokens.next(), tokens.next(), tokens.next()) else {
            return Err(Unparseable);
        };
        let port = port.split('/').next().unwrap_or_default();
        let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Unparseable);
        }
        let live = digits.bytes().any(|b| b != b'0');
        Ok(Self { kind, live, protocol, formats: tokens.collect(), attributes: Vec::new() })
    }
}

impl<'a> Attribute<'a> {
    fn parse(line: &'a str) -> Self {
        match line.split_once(':') {
            Some((name, value)) => Self { name, value: Some(value) },
            None => Self { name: line, value: None },
        }
    }

    /// Which way media flows, if this is the property that says so.
    fn direction(&self) -> Option<Direction> {
        if self.value.is_some() { None } else { self.name.parse().ok() }
    }

    /// Its value, if it has one that says anything.
    fn content(&self) -> Option<&'a str> {
        self.value.filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(text: &str) -> Vec<(String, bool, String)> {
        let sdp = Sdp::parse(text).expect("the text is SDP");
        sdp.sections().map(|s| (s.kind().to_owned(), s.is_live(), s.protocol().to_owned())).collect()
    }

    #[test]
    fn web_20_only_text_that_starts_with_v_0_is_sdp() {
        assert!(Sdp::parse("v=0").is_ok());
        assert!(Sdp::parse("v=0nonsense").is_ok());
        for text in ["", " v=0", "V=0", "v=1", "\u{feff}v=0", "o=- 1 1 IN IP4 0.0.0.0"] {
            assert_eq!(Sdp::parse(text).err(), Some(Unparseable), "{text:?}");
        }
    }

    #[test]
    fn web_21_lines_that_are_not_letter_equals_are_skipped() {
        let text = "v=0\r\n\r\nx\r\nbroken line\r\n=m=audio\r\n  m=audio 9 RTP/AVP 0  \r\n a=mid:0 \n";
        assert_eq!(sections(text), [("audio".to_owned(), true, "RTP/AVP".to_owned())]);
        let sdp = Sdp::parse(text).expect("readable");
        assert_eq!(sdp.sections().next().and_then(|s| s.value("mid")), Some("0"));
    }

    #[test]
    fn web_22_media_lines_need_three_tokens_and_an_integer_port() {
        for line in
            ["m=audio 9", "m=", "m=audio nine RTP/AVP", "m=audio 9.5 RTP/AVP", "m=audio /2 RTP/AVP", "m=audio - x"]
        {
            assert_eq!(Sdp::parse(&format!("v=0\r\n{line}\r\n")).err(), Some(Unparseable), "{line}");
        }
        let text = "v=0\nm=audio 9/2 RTP/AVP\nm=video\t0\tRTP/AVP 96\nm=text 00/7 x\nm=a 99999999999999999999 y\n";
        let live: Vec<bool> = sections(text).into_iter().map(|(_, live, _)| live).collect();
        assert_eq!(live, [true, false, false, true]);
    }

    #[test]
    fn web_23_an_attribute_splits_at_its_first_colon_and_belongs_to_the_section_above() {
        let sdp = Sdp::parse("v=0\na=group:BUNDLE 0\nm=audio 9 x\na=fingerprint:sha-256 AA:BB\nb=AS:9\nm=video 9 x\n");
        let sdp = sdp.expect("readable");
        let values: Vec<_> = sdp.sections().map(|s| (s.value("fingerprint"), s.value("group"))).collect();
        assert_eq!(values, [(Some("sha-256 AA:BB"), Some("BUNDLE 0")), (None, Some("BUNDLE 0"))]);
    }

    #[test]
    fn web_24_direction_comes_from_the_section_then_the_session_then_the_default() {
        let direction = |session: &str, section: &str| {
            let text = format!("v=0\n{session}\nm=audio 9 x\n{section}\n");
            let sdp = Sdp::parse(&text).expect("readable");
            sdp.sections().next().map(|s| s.direction().as_str())
        };
        assert_eq!(direction("a=recvonly", "a=sendonly\na=inactive"), Some("sendonly"));
        assert_eq!(direction("a=recvonly", ""), Some("recvonly"));
        assert_eq!(direction("a=recvonly", "a=sendonly:not a property"), Some("recvonly"));
        assert_eq!(direction("", ""), Some("sendrecv"));
    }

    #[test]
    fn web_25_values_are_looked_up_in_the_section_first_and_rtcp_mux_only_there() {
        let sdp =
            Sdp::parse("v=0\na=setup:passive\na=rtcp-mux\nm=audio 9 x\na=setup:active\na=setup:actpass\nm=video 9 x\n");
        let sdp = sdp.expect("readable");
        let seen: Vec<_> = sdp.sections().map(|s| (s.value("setup"), s.has_own("rtcp-mux"))).collect();
        assert_eq!(seen, [(Some("active"), false), (Some("passive"), false)]);
    }

    #[test]
    fn web_26_encodings_are_the_names_in_rtpmap_lines() {
        let sdp = Sdp::parse(
            "v=0\nm=audio 9 x\na=rtpmap:111 OPUS/48000/2\na=rtpmap:0 pcmu/8000\na=rtpmap:5\na=rtpmap:6 G722\na=rtpmap:7 opus/1\n",
        );
        let sdp = sdp.expect("readable");
        let section = sdp.sections().next().expect("one section");
        assert_eq!(
            section.rtpmaps().collect::<Vec<_>>(),
            [("111", "OPUS"), ("0", "pcmu"), ("6", "G722"), ("7", "opus")]
        );
        assert_eq!(section.codecs(), [Codec::Opus, Codec::Pcmu, Codec::G722]);
    }
}
