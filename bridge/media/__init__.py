"""Audio without sockets: G.711, RTP, DTMF, players."""
