//! Media bindings: how a negotiated session becomes a media path.
//!
//! A binding says what rides in a transport descriptor, what a receiver checks in it, and what else the two sides have to
//! exchange before packets flow. It runs below the envelope pipeline and beside the session engine (WEB-5): the engine
//! asks it whether an offer or an answer is usable, it never decides the fate of a session by itself.

pub mod webrtc;
