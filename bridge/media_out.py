"""How media leave: as an MMS where there is MMS, else as links in the text."""

from collections.abc import Callable, Sequence

import msgspec

from bridge.events import Media
from bridge.media_links import Variant
from sms.provider import Capabilities

MMS_COUNTRIES = frozenset({"US", "CA", "AU"})
"""ISO 3166 alpha-2. Everywhere else providers turn an MMS into a text, or refuse it."""
MMS_BYTES = 5_000_000
"""Of everything in one MMS (Twilio's limit)."""
MMS_OTHER_BYTES = 500_000
"""Of anything that is no picture: it is passed on as it is, and carriers take no more."""
FIT_BYTES = 1_000_000
"""At most, of a picture in the variant `fit`: five of them fill an MMS, and no carrier refuses one for its size alone."""
MMS_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif"})
"""What every telephone shows, and what Twilio makes smaller where a carrier wants it."""
MMS_REDRAWN = frozenset({"image/webp"})
"""What can be made into a JPEG."""
MMS_OTHERS = frozenset({"video/mp4", "video/3gpp", "audio/amr", "audio/mp4", "audio/mpeg", "text/vcard", "application/pdf"})


class DoesNotFitError(ValueError):
    """The words and the links together are longer than a text of this provider may be."""


class OutPlan(msgspec.Struct, frozen=True):
    """A text that is ready to be sent."""

    body: str
    """The words, and below them a link for whatever does not go as MMS."""
    media_urls: tuple[str, ...]
    """What the provider fetches and sends."""


def plan(
    body: str,
    media: Sequence[Media],
    country: str | None,
    capabilities: Capabilities,
    url_for: Callable[[Media, Variant], str],
) -> OutPlan:
    """Decide for each of *media* how it reaches a telephone.

    Args:
        body: Words, may be empty.
        media: In the order they are to be seen.
        country: ISO 3166 alpha-2 of the recipient; None: unknown, so no MMS.
        capabilities: Of the provider that will send it.
        url_for: The address of a file, or of the picture made to fit.

    Raises:
        DoesNotFitError: see there.
    """
    urls: list[str] = []
    links: list[str] = []
    room = MMS_BYTES
    crowded = sum(item.size for item in media) > MMS_BYTES
    mms = capabilities.media and country in MMS_COUNTRIES
    for item in media:
        variant = _variant(item, crowded=crowded) if mms and len(urls) < capabilities.max_media else None
        size = min(item.size, FIT_BYTES) if variant == "fit" else item.size
        if variant is None or size > room:
            links.append(url_for(item, "whole"))
            continue
        urls.append(url_for(item, variant))
        room -= size
    words = "\n".join([body, *links] if body else links)
    if len(words) > capabilities.max_characters:
        raise DoesNotFitError(f"{len(words)} characters with links, at most {capabilities.max_characters} fit into a text")
    return OutPlan(words, tuple(urls))


def _variant(item: Media, *, crowded: bool) -> Variant | None:
    """As what an MMS may carry *item*; None: not at all. *crowded*: all of them as they are would be too much."""
    if item.content_type in MMS_PICTURES:
        return "fit" if item.size > MMS_BYTES or (crowded and item.size > FIT_BYTES) else "whole"
    if item.content_type in MMS_REDRAWN:
        return "fit"
    return "whole" if item.content_type in MMS_OTHERS and item.size <= MMS_OTHER_BYTES else None
