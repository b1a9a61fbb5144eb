//! The server: listeners, routing, DHT and STUN, driven by the rules of dsip-proto.
