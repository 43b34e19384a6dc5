"""Stand-ins for what the server talks to, real enough to trust: loopback only."""
