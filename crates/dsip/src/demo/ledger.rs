//! What the demo says and claims, with the time since it began. A claim is something that was just checked; one that does not
//! hold makes the whole demo fail.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::output::{Output, Style};

/// The narrator.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    out: &'a Output,
    began: Instant,
    act: &'static str,
    claims: Vec<Claim>,
}

/// Something that was checked.
#[derive(Debug)]
struct Claim {
    act: &'static str,
    what: String,
    held: bool,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, began: Instant::now(), act: "", claims: Vec::new() }
    }

    /// Begins an act.
    pub(super) fn act(&mut self, title: &'static str) {
        self.act = title;
        self.out.object(&json!({ "event": "act", "title": title, "at_ms": self.at_ms() }));
        self.out.line("");
        self.out.line(self.out.styled(Style::Bold, title));
    }

    /// Tells what happens, with real data.
    pub(super) fn tell(&self, words: impl fmt::Display) {
        let words = words.to_string();
        self.out.object(&json!({ "event": "tell", "words": words, "at_ms": self.at_ms() }));
        let at = self.out.styled(Style::Dim, format!("{:>7.3} s", self.began.elapsed().as_secs_f64()));
        self.out.line(format!("  {at}  {words}"));
    }

    /// Shows something as it is, such as a picture.
    pub(super) fn show(&self, picture: &str) {
        self.out.line(picture);
    }

    /// States something that was checked just now.
    pub(super) fn claim(&mut self, held: bool, what: impl fmt::Display, detail: impl fmt::Display) {
        let (what, detail) = (what.to_string(), detail.to_string());
        let object = json!({ "event": "claim", "claim": what, "held": held, "detail": detail, "at_ms": self.at_ms() });
        self.out.object(&object);
        let (mark, style) = if held { ("✓", Style::Good) } else { ("✗", Style::Bad) };
        let detail = if detail.is_empty() { String::new() } else { self.out.styled(Style::Dim, format!("  {detail}")) };
        self.out.line(format!("             {} {what}{detail}", self.out.styled(style, mark)));
        self.claims.push(Claim { act: self.act, what, held });
    }

    /// How many claims there were, and those that did not hold.
    pub(super) fn verdict(&self) -> (usize, Vec<String>) {
        let broken = self.claims.iter().filter(|claim| !claim.held);
        (self.claims.len(), broken.map(|claim| format!("{}: {}", claim.act, claim.what)).collect())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A time span as people read it.
pub(super) fn ms(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}
