//! The endpoint on real sockets, files and programs.

mod abuse;
mod dht;
mod media;
mod quic;
mod resolve;
