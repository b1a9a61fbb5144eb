//! Frames that wait for the DID documents their verification will want.
//!
//! Anybody can make a phone look up a `did:web`, so both the look-ups and what waits for them are bounded, and what does
//! not fit is dropped: its sender has proven nothing yet. Frames of one signer stay in order (RLY-3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::{Now, Tick};
use crate::wire::Did;

use super::{AskId, LinkId};

/// Frames that wait at one time.
const FRAMES: usize = 64;
/// Look-ups under way at one time.
const LOOKUPS: usize = 16;
/// A look-up that takes longer counts as failed; the resolver's own limits are tighter.
const LOOKUP_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) link: LinkId,
    pub(super) text: String,
    signer: Option<Did>,
    wants: BTreeSet<Did>,
}

/// The waiting room.
#[derive(Debug, Default)]
pub(super) struct Parked {
    frames: Vec<Frame>,
    lookups: BTreeMap<AskId, (Did, Tick)>,
}

impl Parked {
    /// Whether a frame of this signer on this link has to queue behind an earlier one.
    pub(super) fn holds(&self, link: LinkId, signer: Option<&Did>) -> bool {
        self.frames.iter().any(|frame| frame.link == link && frame.signer.as_ref() == signer)
    }

    /// Takes a frame in, and returns the DIDs that nobody is looking up yet. `None`: there is no room.
    pub(super) fn park(
        &mut self,
        link: LinkId,
        text: &str,
        signer: Option<Did>,
        wants: BTreeSet<Did>,
    ) -> Option<Vec<Did>> {
        let under_way: BTreeSet<&Did> = self.lookups.values().map(|(did, _)| did).collect();
        let news: Vec<Did> = wants.iter().filter(|did| !under_way.contains(did)).cloned().collect();
        if self.frames.len() >= FRAMES || self.lookups.len() + news.len() > LOOKUPS {
            return None;
        }
        self.frames.push(Frame { link, text: text.to_owned(), signer, wants });
        Some(news)
    }

    /// A look-up was started.
    pub(super) fn asked(&mut self, ask: AskId, did: Did, now: Now) {
        self.lookups.insert(ask, (did, now.tick + LOOKUP_LIMIT));
    }

    /// A look-up came back: whose it was, and the frames that now have all they want. `None` when the answer is late or
    /// comes twice.
    pub(super) fn answered(&mut self, ask: AskId) -> Option<(Did, Vec<Frame>)> {
        let (did, _) = self.lookups.remove(&ask)?;
        for frame in &mut self.frames {
            frame.wants.remove(&did);
        }
        Some((did, self.take_ready()))
    }

    /// The look-ups that took too long by now.
    pub(super) fn overdue(&self, now: Now) -> Vec<AskId> {
        self.lookups.iter().filter(|(_, (_, until))| *until <= now.tick).map(|(ask, _)| *ask).collect()
    }

    /// The link is gone, and what it brought has nobody left to answer to.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.frames.retain(|frame| frame.link != link);
    }

    pub(super) fn wake(&self) -> Option<Tick> {
        self.lookups.values().map(|(_, until)| *until).min()
    }

    /// A frame is ready when it wants nothing and no earlier one of its signer on its link still waits.
    fn take_ready(&mut self) -> Vec<Frame> {
        let mut ready = Vec::new();
        let mut kept: Vec<Frame> = Vec::new();
        for frame in std::mem::take(&mut self.frames) {
            let behind = kept.iter().any(|other| other.link == frame.link && other.signer == frame.signer);
            if frame.wants.is_empty() && !behind { ready.push(frame) } else { kept.push(frame) }
        }
        self.frames = kept;
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    const NOW: Now = Now { tick: Tick::from_micros(0), wall: Wall::from_secs(1_760_000_000) };

    fn did(name: &str) -> Did {
        format!("did:web:{name}.example").parse().expect("a DID")
    }

    fn wants(names: &[&str]) -> BTreeSet<Did> {
        names.iter().map(|name| did(name)).collect()
    }

    #[test]
    fn frames_of_one_signer_stay_in_order() {
        let mut parked = Parked::default();
        let link = LinkId(1);
        let news = parked.park(link, "first", Some(did("a")), wants(&["a", "b"])).expect("room");
        assert_eq!(news, [did("a"), did("b")]);
        parked.asked(AskId(1), did("a"), NOW);
        parked.asked(AskId(2), did("b"), NOW);
        assert!(parked.holds(link, Some(&did("a"))));
        assert!(parked.park(link, "second", Some(did("a")), wants(&[])).expect("room").is_empty());
        assert!(parked.park(link, "other", Some(did("b")), wants(&["b"])).expect("room").is_empty(), "asked once only");
        let texts = |(_, frames): (Did, Vec<Frame>)| frames.into_iter().map(|f| f.text).collect::<Vec<_>>();
        assert_eq!(parked.answered(AskId(2)).map(texts), Some(vec!["other".to_owned()]));
        assert_eq!(parked.answered(AskId(1)).map(texts), Some(vec!["first".to_owned(), "second".to_owned()]));
        assert!(parked.answered(AskId(1)).is_none(), "an answer that comes twice is harmless");
    }

    #[test]
    fn look_ups_and_frames_are_bounded() {
        let mut parked = Parked::default();
        let mut taken = 0;
        for n in 0..1000u64 {
            let name = format!("n{n}");
            if let Some(news) = parked.park(LinkId(1), "x", Some(did(&name)), wants(&[&name])) {
                taken += 1;
                for did in news {
                    parked.asked(AskId(n), did, NOW);
                }
            }
        }
        assert_eq!(taken, LOOKUPS);
        assert_eq!(parked.overdue(NOW.later(LOOKUP_LIMIT)).len(), LOOKUPS);
    }
}
