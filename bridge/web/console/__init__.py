"""The pages: the agent's desk and the engineer's phone."""
