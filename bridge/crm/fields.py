"""What a person or a program writes about a contact, made fit to keep. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bridge.journal.crm_rows import ContactFields
from sms.message import readable
from sms.numbers import normalise

LONGEST_NAME, LONGEST_COMPANY, LONGEST_VALUE, LONGEST_TAG, LONGEST_MAIL = 80, 120, 1000, 40, 254
"""Characters; of a mail address as RFC 5321 section 4.5.3.1.3 has it (256 with its brackets)."""
MOST_PHONES, MOST_MAILS, MOST_TAGS, MOST_CUSTOM, MOST_EXTERNAL = 10, 10, 30, 50, 20
_LANGUAGE = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
_MAIL = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+")
_LABEL = re.compile(r"[^\x00-\x1f]{1,100}")


class FieldsError(ValueError):
    """Some of it cannot be kept; nothing was."""

    def __init__(self, said: Mapping[str, tuple[str, Mapping[str, object]]]) -> None:
        self.said = dict(said)
        """Field to what is wrong with it: a sentence, and what is to be filled in."""
        self.faults = {field: words % values for field, (words, values) in said.items()}
        """The same, filled in."""
        super().__init__("; ".join(f"{field}: {why}" for field, why in self.faults.items()))


def tidy(given: Mapping[str, Any], *, region: str | None = None) -> ContactFields:
    """The contact that *given* describes.

    Args:
        given: Fields of `ContactFields`; text that may be empty, and lists of text. What is missing is not known.
        region: ISO 3166 alpha-2 country in which numbers without `+` are read.

    Raises:
        FieldsError: With everything that is wrong.
    """
    faults: dict[str, tuple[str, Mapping[str, object]]] = {}

    def text(field: str, longest: int) -> str | None:
        words = " ".join(readable(str(given.get(field) or "")).split())
        if len(words) > longest:
            faults[field] = ("Please use at most %(most)s characters.", {"most": longest})
        return words or None

    def each(field: str, most: int, make: Callable[[str], str | None], wrong: str) -> tuple[str, ...]:
        kept = []
        for item in _items(given.get(field)):
            made = make(item)
            if made is None:
                faults[field] = (wrong, {"value": item[:60]})
            else:
                kept.append(made)
        if len(kept) > most:
            faults[field] = ("At most %(most)s are kept.", {"most": most})
        return tuple(dict.fromkeys(kept))

    language = (text("language", 10) or "").replace("_", "-") or None
    if language is not None and not _LANGUAGE.fullmatch(language):
        faults["language"] = ("%(value)s is no language; write it like en or fr-CA.", {"value": language})
    fields = ContactFields(
        name=text("name", LONGEST_NAME),
        company=text("company", LONGEST_COMPANY),
        language=language,
        phones=each("phones", MOST_PHONES, lambda it: normalise(it, region=region), "%(value)s is not a telephone number."),
        mails=each("mails", MOST_MAILS, _mail, "%(value)s is not a mail address."),
        tags=each("tags", MOST_TAGS, lambda it: it if len(it) <= LONGEST_TAG else None, "%(value)s is too long for a tag."),
        external={name: str(value) for name, value in _table(given, "external", MOST_EXTERNAL, faults).items()},
        custom=_table(given, "custom", MOST_CUSTOM, faults),
    )
    if faults:
        raise FieldsError(faults)
    return fields


def _mail(item: str) -> str | None:
    return item if len(item) <= LONGEST_MAIL and _MAIL.fullmatch(item) else None


def _items(given: Any) -> list[str]:
    """Parts of a list, or of text that is parted by commas, semicolons or ends of lines."""
    parts: Iterable[Any] = re.split(r"[,;\n]", given) if isinstance(given, str) else (given or ())
    return [words for part in parts if (words := " ".join(readable(str(part)).split()))]


def _table(
    given: Mapping[str, Any], field: str, most: int, faults: dict[str, tuple[str, Mapping[str, object]]]
) -> dict[str, Any]:
    kept = {}
    for label, value in (given.get(field) or {}).items():
        clean = readable(value) if isinstance(value, str) else value
        if not _LABEL.fullmatch(label):
            faults[field] = ("A label has 1 to 100 characters.", {})
        elif isinstance(clean, str) and len(clean) > LONGEST_VALUE:
            faults[field] = ("%(label)s: please use at most %(most)s characters.", {"label": label, "most": LONGEST_VALUE})
        elif clean not in {"", None}:
            kept[label] = clean
    if len(kept) > most:
        faults[field] = ("At most %(most)s are kept.", {"most": most})
    return kept
