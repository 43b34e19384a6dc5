"""Whoever carries calls."""
