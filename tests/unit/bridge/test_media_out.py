"""How media leave: MMS where there is MMS, links elsewhere."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import Media
from bridge.media_links import Variant
from bridge.media_out import MMS_BYTES, DoesNotFitError, OutPlan, plan
from sms.provider import Capabilities

CAN = Capabilities(
    media=True,
    two_way=True,
    delivery_reports=True,
    alphanumeric_sender=False,
    obeys_opt_out=True,
    max_characters=1600,
    max_media=10,
)
CANNOT = Capabilities(
    media=False,
    two_way=True,
    delivery_reports=True,
    alphanumeric_sender=False,
    obeys_opt_out=True,
    max_characters=160,
    max_media=0,
)


def item(kind: str, size: int, name: str = "") -> Media:
    return Media(digest=hashlib.sha256(f"{kind}{size}{name}".encode()).hexdigest(), content_type=kind, size=size)


def url_for(media: Media, variant: Variant) -> str:
    return f"https://m.example/{media.digest[:6]}/{variant}"


@pytest.mark.parametrize(
    ("media", "variant"),
    [
        (item("image/jpeg", 100_000), "whole"),
        (item("image/png", 5_000_000), "whole"),
        (item("image/gif", 1), "whole"),
        (item("image/jpeg", 5_000_001), "fit"),
        (item("image/webp", 1), "fit"),
        (item("video/mp4", 500_000), "whole"),
        (item("video/mp4", 500_001), None),
        (item("application/pdf", 400_000), "whole"),
        (item("image/heic", 100), None),
        (item("video/quicktime", 100), None),
    ],
)
def test_each_kind_goes_as_it_can(media: Media, variant: Variant | None) -> None:
    """Pictures up to 5 MB, larger ones made to fit, other files up to 500 KB; a link for the rest."""
    expected = (
        OutPlan(f"Look:\n{url_for(media, 'whole')}", ()) if variant is None else OutPlan("Look:", (url_for(media, variant),))
    )

    assert plan("Look:", [media], "US", CAN, url_for) == expected


@pytest.mark.parametrize(("country", "can"), [("FR", CAN), (None, CAN), ("US", CANNOT)])
def test_without_mms_there_are_links(country: str | None, can: Capabilities) -> None:
    """Another country, a number of no known country, a provider that carries words only."""
    photo = item("image/jpeg", 1000)

    assert plan("", [photo], country, can, url_for) == OutPlan(url_for(photo, "whole"), ())


def test_several_large_pictures_share_the_room() -> None:
    """Five photos of 3 MB all go, each made to fit; a sixth goes as a link."""
    photos = [item("image/jpeg", 3_000_000, str(n)) for n in range(6)]

    assert plan("Hi", photos, "CA", CAN, url_for) == OutPlan(
        f"Hi\n{url_for(photos[5], 'whole')}", tuple(url_for(photo, "fit") for photo in photos[:5])
    )


def test_words_alone_stay_as_they_are() -> None:
    """No media, nothing to decide."""
    assert plan("Hello", [], "US", CAN, url_for) == OutPlan("Hello", ())


def test_links_that_do_not_fit_are_said_so() -> None:
    """Nothing is cut off in silence."""
    with pytest.raises(DoesNotFitError):
        plan("x" * 150, [item("image/jpeg", 1)], "FR", CANNOT, url_for)


@given(
    media=st.lists(
        st.builds(
            item, st.sampled_from(["image/jpeg", "image/webp", "video/mp4", "image/heic"]), st.integers(1, 9_000_000), st.text()
        ),
        max_size=14,
    ),
    country=st.sampled_from(["US", "AU", "FR", None]),
)
def test_everything_goes_one_way_and_fits(media: list[Media], country: str | None) -> None:
    """Each file goes once, as MMS or as link; an MMS is never larger than it may be, and never has too many."""
    sizes: dict[str, int] = {}

    def remember(one: Media, variant: Variant) -> str:
        url = f"u{len(sizes)}"
        sizes[url] = one.size if variant == "whole" else min(one.size, 1_000_000)
        return url

    out = plan("", media, country, CAN, remember)

    links = out.body.split("\n") if out.body else []
    assert sorted([*links, *out.media_urls]) == sorted(sizes)
    assert len(sizes) == len(media)
    assert sum(sizes[url] for url in out.media_urls) <= MMS_BYTES
    assert len(out.media_urls) <= (10 if country in {"US", "AU"} else 0)
