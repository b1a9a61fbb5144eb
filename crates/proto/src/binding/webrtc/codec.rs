//! The one table between DSIP codec ids and SDP encoding names (file 04, section 6). The gateway uses it too.

/// A codec that has both a DSIP id and an SDP encoding name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Opus, the codec every endpoint has (WEB-38).
    Opus,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722, sampled at 16 kHz whatever its clock rate says.
    G722,
    /// H.264.
    H264,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
}

impl Codec {
    /// Every codec of the table, in its order.
    pub const ALL: [Self; 8] =
        [Self::Opus, Self::Pcmu, Self::Pcma, Self::G722, Self::H264, Self::Vp8, Self::Vp9, Self::Av1];

    /// The codec a descriptor names. `None` is not an error: a codec without a mapping is simply not checked (WEB-13).
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The codec an `a=rtpmap` encoding names, without regard to case (WEB-26).
    #[must_use]
    pub fn from_encoding(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.encoding().eq_ignore_ascii_case(name))
    }

    /// The DSIP codec id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Opus => "codec:audio/opus",
            Self::Pcmu => "codec:audio/pcmu",
            Self::Pcma => "codec:audio/pcma",
            Self::G722 => "codec:audio/g722",
            Self::H264 => "codec:video/h264",
            Self::Vp8 => "codec:video/vp8",
            Self::Vp9 => "codec:video/vp9",
            Self::Av1 => "codec:video/av1",
        }
    }

    /// The SDP encoding name in its canonical case.
    #[must_use]
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::G722 => "G722",
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
        }
    }

    /// The whole `a=rtpmap` value after the payload type.
    #[must_use]
    pub fn rtpmap(self) -> &'static str {
        match self {
            Self::Opus => "opus/48000/2",
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::G722 => "G722/8000",
            Self::H264 => "H264/90000",
            Self::Vp8 => "VP8/90000",
            Self::Vp9 => "VP9/90000",
            Self::Av1 => "AV1/90000",
        }
    }

    /// The codec that a payload type means without an `a=rtpmap` (RFC 3551, RTP section 14 of file 05, GW-86).
    #[must_use]
    pub fn from_static_payload_type(format: &str) -> Option<Self> {
        match format {
            "0" => Some(Self::Pcmu),
            "8" => Some(Self::Pcma),
            "9" => Some(Self::G722),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_38_the_table_maps_both_ways() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
            assert_eq!(Codec::from_encoding(&codec.encoding().to_lowercase()), Some(codec));
            assert!(codec.rtpmap().starts_with(codec.encoding()));
        }
        assert_eq!(Codec::from_id("codec:audio/aac"), None);
        assert_eq!(Codec::from_encoding("telephone-event"), None);
    }
}
