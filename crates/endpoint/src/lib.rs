//! The embeddable native endpoint: drives the rules of dsip-proto and the media of dsip-media over real sockets, DHT, files and devices.
pub mod audio;
pub mod clock;
pub mod dht;
pub mod home;
pub mod link;
pub mod media;
pub mod phone;
pub mod qr;
pub mod resolve;
pub mod tls;
pub mod turn;
pub mod wake;
