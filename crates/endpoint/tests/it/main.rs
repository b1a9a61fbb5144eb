//! The endpoint on real sockets, files and programs.

mod dht;
mod media;
mod resolve;
