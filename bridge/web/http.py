"""Small things every handler shares: capped bodies, the security headers, where a request comes from."""

import asyncio
import re
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from bridge.settings import is_loopback

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No inline script, no inline style, nothing from another host."""

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "sidetone",
}

STORED_MEDIA_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=86400, immutable",
}
"""A customer's picture is never allowed to act as a page."""

BODY_TIME = 10.0
"""Seconds in which a whole body has to arrive. Genuine ones come in one piece."""
FORM_LIMIT = 64 * 1024
"""Bytes of a form. The longest has a note of 4000 characters."""
_FORM = web.RequestKey("form", dict[str, str])
"""Under which a request keeps its form: a body can be read once."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


async def read_capped(request: web.Request, limit: int, *, patience: float = BODY_TIME) -> bytes | None:
    """Read the whole body, or give None (having read no more than *limit* bytes plus one chunk) when it is longer.

    Raises:
        HTTPRequestTimeout: it did not arrive within *patience* seconds.
    """
    if (request.content_length or 0) > limit:
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    return None
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    return bytes(body)


async def read_form(request: web.Request, *, limit: int = FORM_LIMIT, fields_at_most: int = 100) -> dict[str, str]:
    """The fields of a form of ours; of equal names the last. Lines end as on Unix, other control characters are left out.

    Who has read a form with a higher *limit* (bytes) has read it for everybody.

    Raises:
        HTTPRequestTimeout: see `read_capped`.
        HTTPUnsupportedMediaType: it is not what a form without files sends.
        HTTPBadRequest: it has too many fields.
    """
    if _FORM in request:
        return request[_FORM]
    if request.can_read_body and request.content_type != "application/x-www-form-urlencoded":
        raise web.HTTPUnsupportedMediaType
    body = await read_capped(request, limit)
    if body is None:
        raise web.HTTPRequestEntityTooLarge(limit, limit + 1)
    try:
        fields = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=fields_at_most
        )
    except ValueError as error:
        raise web.HTTPBadRequest from error
    request[_FORM] = form = {name: _UNPRINTABLE.sub("", value.replace("\r\n", "\n")) for name, value in fields}
    return form


def from_here(request: web.Request) -> bool:
    """Whether a request was made on this machine, by somebody who addressed it as this machine, and not passed on.

    The Host header counts because any web site can give its own name our address (DNS rebinding) and then talks to us from
    the browser of whoever looks at it, but it can not make the browser say `localhost`.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host) and is_loopback(request.remote or "")


def same_origin(request: web.Request, public_url: str | None) -> bool:
    """Whether the Origin header names this very server (RFC 6454 section 7); a missing header does not."""
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    parts = urlsplit(origin)
    if parts.netloc and parts.netloc == request.host:
        return True
    if public_url is None:
        return False
    public = urlsplit(public_url)
    return (parts.scheme, parts.netloc) == (public.scheme, public.netloc)
