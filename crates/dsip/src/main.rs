//! DSIP on the command line: a phone, a node and a demonstration in one binary.
fn main() {}
