"""Addresses of media: signed, short, over when they are over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import Media
from bridge.media_links import MediaLinks, Shared, Variant

KEY = bytes(range(32))
NOW = 1_795_000_000.0
PHOTO = Media(digest="ab" * 32, content_type="image/jpeg", size=1)
LINKS = MediaLinks(KEY, "https://sms.example.com/")


def token_of(url: str) -> str:
    return url.removeprefix("https://sms.example.com/media/")


@given(
    digest=st.binary(min_size=32, max_size=32),
    variant=st.sampled_from(["whole", "thumbnail", "fit"]),
    left=st.floats(-1e6, 1e6),
    kind=st.sampled_from(["image/jpeg", "video/mp4", "text/vcard"]),
)
def test_an_address_says_what_was_said(digest: bytes, variant: Variant, left: float, kind: str) -> None:
    """File, variant and end come back; the address is shorter than half a text."""
    media = Media(digest=digest.hex(), content_type=kind, size=1)

    url = LINKS.url(media, expires_at=NOW + left, variant=variant)

    assert len(url) <= 80
    assert LINKS.read(token_of(url), now=NOW) == Shared(digest.hex()[:32], variant, over=int(NOW + left) <= NOW)


@given(at=st.integers(0, 43), char=st.sampled_from("ABCabc019-_=+/.é"))
def test_no_character_can_be_changed(at: int, char: str) -> None:
    """Another digest, variant or time with an old signature is not ours."""
    token = token_of(LINKS.url(PHOTO, expires_at=NOW + 60)).removesuffix(".jpg")
    changed = token[:at] + char + token[at + 1 :]

    assert LINKS.read(changed, now=NOW) is None or changed == token


@given(token=st.text(max_size=60))
def test_what_we_did_not_make_is_nothing(token: str) -> None:
    """Any text in place of an address."""
    assert LINKS.read(token, now=NOW) is None


def test_another_key_reads_nothing() -> None:
    """A new secret ends every old address."""
    url = LINKS.url(PHOTO, expires_at=NOW + 60)

    assert MediaLinks(bytes(32), "https://sms.example.com").read(token_of(url), now=NOW) is None


@pytest.mark.parametrize(
    ("kind", "variant", "ending"),
    [
        ("image/jpeg", "whole", ".jpg"),
        ("image/webp", "fit", ".jpg"),
        ("image/webp", "whole", ""),
        ("application/pdf", "whole", ".pdf"),
    ],
)
def test_an_address_ends_like_its_file(kind: str, variant: Variant, ending: str) -> None:
    """A picture made to fit is a JPEG whatever it was."""
    media = Media(digest="ab" * 32, content_type=kind, size=1)

    assert token_of(LINKS.url(media, expires_at=NOW, variant=variant))[44:] == ending
