"""Texts: what they are, what they may say, who carries them."""
