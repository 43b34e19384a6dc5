"""What can be wrong with a request: each problem once, with what to do about it (RFC 9457)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from pydantic import ValidationError

PREFIX = "/api/v1"


class Kind(msgspec.Struct, frozen=True):
    """A kind of problem."""

    status: int
    title: str
    remedy: str
    """What to do about it, for whoever writes the program."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "malformed": Kind(400, "Not JSON", "Send one JSON object in UTF-8."),
        "parameters": Kind(400, "Wrong parameters", "Look at errors: each names a parameter of the query and what it may be."),
        "idempotency_key": Kind(400, "Wrong Idempotency-Key", "Use 1 to 200 printable ASCII characters, such as a UUID."),
        "unauthorized": Kind(401, "No such token", "Send a token of the settings as: Authorization: Bearer TOKEN"),
        "scope": Kind(403, "Not allowed", "Give the key the scope that detail names (api.keys[].scopes)."),
        "sender_not_allowed": Kind(403, "Not your number", "Use a number of the key (api.keys[].numbers)."),
        "not_yours": Kind(403, "Not your text", "Take back a text with the key that sent it, or with a token of web.api_tokens."),
        "not_found": Kind(404, "No such thing", "Check the id."),
        "method": Kind(405, "No such method", "The Allow header lists the methods there are."),
        "in_progress": Kind(409, "Still at it", "The first request with this Idempotency-Key is not answered yet; ask again."),
        "not_waiting": Kind(409, "Too late", "Only a text that waits for its time can be canceled."),
        "still_open": Kind(409, "Not over yet", "Erase when the conversation is closed and every text has gone out."),
        "fixed": Kind(409, "Set in the settings", "Take the number out of sms.blocked and restart."),
        "stale": Kind(409, "Changed meanwhile", "Read the contact again, and send its new revision."),
        "held": Kind(409, "Held back", "An agent has to judge the customer's last words; try again later."),
        "too_large": Kind(413, "Too large", "Send less; detail says how much is taken."),
        "content_type": Kind(415, "Wrong type", "Send Content-Type: application/json."),
        "fields": Kind(422, "Wrong fields", "Look at errors: each points to a field and says what it may be."),
        "conflict": Kind(422, "Idempotency-Key used before", "Use a new Idempotency-Key for a new request."),
        "media": Kind(422, "File not taken", "Send a picture, video or document of a kind that telephones show."),
        "unknown_media": Kind(422, "No such file", "Upload the file by POST /media first and give its digest."),
        "proof": Kind(422, "No proof", "Name the customer's START text, or describe the written proof."),
        "invalid_number": Kind(422, "Not a telephone number", "Write the number with plus and country code: +15550100123."),
        "cannot_text": Kind(422, "Takes no texts", "The number is a landline or of another kind without texts; call it."),
        "opted_out": Kind(422, "Asked us to stop", "Do not text this number. Only a START of its owner lifts it."),
        "blocked": Kind(422, "On the blocklist", "Take the number off the blocklist if it stands there by mistake."),
        "no_consent": Kind(422, "Has not agreed", "Record the customer's agreement by POST /consents, in its exact words."),
        "quiet_hours": Kind(422, "Night there", "Let it be valid longer, so that it can wait for the morning."),
        "unknown_sender": Kind(422, "Not our number", "Use one of GET /numbers in from."),
        "unregistered_sender": Kind(422, "Not registered", "Register the number with the carriers, or use another."),
        "unknown_queue": Kind(422, "No such queue", "Name a queue for texts."),
        "unknown_agent": Kind(422, "No such agent", "Name an agent who takes texts."),
        "cannot_call": Kind(422, "Not called from here", "Look at detail: no trunk, or a number that may not be called."),
        "in_hand": Kind(409, "In hand already", "The customer is on the phone, or is to be called already."),
        "import": Kind(422, "File not imported", "Look at detail; the file or the mapping of its columns has to be mended."),
        "empty": Kind(422, "Nothing to send", "Give text or media."),
        "too_long": Kind(422, "Too long", "Shorten the text."),
        "too_late": Kind(422, "Too late", "valid_for has to reach beyond the time of sending."),
        "too_early": Kind(422, "Too far ahead", "Plan a text for the next 30 days only."),
        "rate": Kind(429, "Too fast", "Wait as many seconds as Retry-After says."),
        "failed": Kind(500, "Our fault", "It has been written to the log."),
        "unavailable": Kind(503, "Not now", "A part of the service does not answer; try again, with the same Idempotency-Key."),
    }
)


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong in a request."""

    detail: str
    pointer: str = ""
    """JSON Pointer (RFC 6901) to the field of the body."""
    parameter: str = ""
    """Or the parameter of the query."""


class Problem(msgspec.Struct, frozen=True):
    """An error as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


class ProblemError(Exception):
    """Ends a request with a problem document.

    Args:
        kind: A key of `KINDS`.
        detail: What it was this time; None: the remedy says enough.
        errors: Field by field.
        retry_after: Seconds until it makes sense to ask again; None: nobody knows.
    """

    def __init__(
        self, kind: str, detail: str | None = None, *, errors: tuple[Fault, ...] = (), retry_after: float | None = None
    ) -> None:
        known = KINDS[kind]
        super().__init__(detail or known.remedy)
        self.retry_after = retry_after
        self.problem = Problem(f"{PREFIX}/problems/{kind}", known.title, known.status, detail or known.remedy, errors)


def faults(error: ValidationError, *, parameters: bool = False) -> tuple[Fault, ...]:
    """Everything that pydantic found, in the words of whoever sent it."""
    found = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in each["loc"]]
        words = _words(each)
        if parameters:
            found.append(Fault(words, parameter=".".join(path)))
        else:
            found.append(Fault(words, pointer="".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)))
    return tuple(found)


def _words(each: Any) -> str:
    match each["type"]:
        case "extra_forbidden":
            return "There is no such field."
        case "missing":
            return "This field is required."
        case _:
            return f"{each['msg'].removeprefix('Value error, ')}."
