//! DSIP's packet plane: the media engine of a call, codecs, jitter buffer and statistics. Pure: no socket, no clock.
