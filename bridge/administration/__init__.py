"""What the house decides for itself while the server runs: published settings, people who sign in, programs, the audit book."""
