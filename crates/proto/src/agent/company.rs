//! Several programs of one device: which of them speaks.
//!
//! A relay keeps one connection of a device (WS-7), and whoever holds it hears what is meant for any of them. So one program
//! has the device's links at a time: the one that is in a call, else the one that started last. The others stand aside, with
//! no link at all, and come back as soon as they may. The driver knows who else there is; what follows is decided here.

use crate::time::Now;

use super::{Agent, Event, Output};

/// Another program of this device that goes before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// It is in a call.
    InCall,
    /// It was started later.
    Newer,
}

impl Agent {
    /// Whether a call is placed, rings or is up: then no other program of this device may take the links away.
    #[must_use]
    pub fn is_engaged(&self) -> bool {
        self.live_calls().next().is_some()
    }

    /// Whether it has left the links to another program of this device.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        self.aside
    }

    /// WS-7: gives all links up for another program of this device, or takes them again when there is none. What waits for its
    /// link goes on waiting, and so does a call that has not got as far as its invite.
    pub(super) fn company_changed(&mut self, now: Now, company: Option<Company>) {
        match company {
            Some(Company::Newer) if self.is_engaged() => {}
            Some(company) if !self.aside => {
                self.aside = true;
                for (id, link) in &mut self.links {
                    link.step_aside();
                    self.parked.forget(*id);
                    self.out.push_back(Output::Close(*id));
                }
                if let Some(hints) = &mut self.hints {
                    hints.pause();
                }
                self.out.push_back(Output::Event(Event::Aside { company }));
            }
            None if self.aside => {
                self.aside = false;
                for (id, link) in &mut self.links {
                    link.come_back();
                    self.out.push_back(Output::Dial(*id, link.relay.clone()));
                }
                self.dial_anew(now);
            }
            _ => {}
        }
    }
}
