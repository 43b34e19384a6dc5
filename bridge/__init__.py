"""The server: one customer's call and texts as one session."""
