//! Worlds in virtual time. `cargo x sim NAME --seed N` replays one with its story on screen.

mod network;
