"""SIP without sockets (RFC 3261)."""
