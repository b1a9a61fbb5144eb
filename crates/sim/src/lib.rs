//! A virtual network and a seeded world for tests. Never shipped.
