"""Estimated waiting time."""
