"""Whoever carries texts."""
