//! Media descriptions in the two forms they take: the rules' own, and the media engine's.

use dsip_proto::agent;
use dsip_proto::wire::media::MediaDescriptor;
use dsip_proto::wire::token::{CodecId, Direction, MediaType, Token};

use crate::media::{self, Codec, Descriptor};

/// What the media engine made, as the agent signs it.
#[must_use]
pub fn from_media(description: &media::Description) -> agent::Description {
    let media = description.media.iter().filter_map(|descriptor| {
        let kind = MediaType::ALL.iter().copied().find(|kind| kind.as_str() == descriptor.kind)?;
        let codecs: Vec<CodecId> = descriptor.codecs.iter().filter_map(|codec| codec.id.parse().ok()).collect();
        let mut media = MediaDescriptor::new(kind, direction(descriptor.direction), &codecs);
        media.purpose = descriptor.purpose.as_ref().and_then(|purpose| purpose.parse::<Token>().ok());
        Some(media)
    });
    agent::Description { media: media.collect(), sdp: description.sdp.clone(), text: None }
}

/// What a peer described and the agent checked, as the media engine reads it.
#[must_use]
pub fn to_media(description: &agent::Description) -> media::Description {
    let media = description.media.iter().map(|descriptor| Descriptor {
        kind: descriptor.kind.as_str().to_owned(),
        direction: match descriptor.direction {
            Direction::SendRecv => media::Direction::SendRecv,
            Direction::SendOnly => media::Direction::SendOnly,
            Direction::RecvOnly => media::Direction::RecvOnly,
            Direction::Inactive => media::Direction::Inactive,
        },
        codecs: descriptor.codecs.iter().map(|codec| Codec { id: codec.id.to_string() }).collect(),
        purpose: descriptor.purpose.as_ref().map(ToString::to_string),
    });
    media::Description { media: media.collect(), sdp: description.sdp.clone() }
}

fn direction(direction: media::Direction) -> Direction {
    match direction {
        media::Direction::SendRecv => Direction::SendRecv,
        media::Direction::SendOnly => Direction::SendOnly,
        media::Direction::RecvOnly => Direction::RecvOnly,
        media::Direction::Inactive => Direction::Inactive,
    }
}
