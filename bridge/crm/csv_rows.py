"""Rows of a CSV file as contacts: which column is what, and what is wrong where. Pure."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from bridge.crm.fields import FieldsError, tidy
from bridge.journal.crm_rows import ContactFields, folded

FIELDS = ("name", "first_name", "last_name", "company", "language", "phones", "mails", "tags", "id", "custom")
"""What a column may be. Several may be phones, mails, tags and custom ones, which keep the column's title."""
MANY = frozenset({"phones", "mails", "tags", "custom"})
_KNOWN: Mapping[str, str] = MappingProxyType(
    {
        r"(full |display |contact )?name|nom complet|nombre completo|contact|contacto": "name",
        r"(first|given) ?name|first|prenom|nombre": "first_name",
        r"(last|family) ?name|surname|last|nom( de famille)?|apellidos?": "last_name",
        r"company|organi[sz]ation|account|firm|societe|entreprise|empresa": "company",
        r"lang(uage)?|locale|langue|idioma": "language",
        r"((mobile|cell|home|work|business|main|other|primary) ?)?(phone|tel|telephone|mobile|cell|number|telefono|telefon|movil)"
        r"( ?(number|no))?( ?\d)?|numero( de telephone)?|portable": "phones",
        r"((work|home|other|primary) ?)?e ?mail( ?address)?( ?\d)?|mail|courriel|correo( electronico)?": "mails",
        r"tags?|labels?|groups?|etiquettes?|etiquetas?": "tags",
        r"id|external ?id|customer ?(id|no|number)|record ?id|reference": "id",
    }
)
"""Titles of columns, folded, as people and other programs write them."""


class Fault(msgspec.Struct, frozen=True):
    """Something in a row that cannot be kept."""

    column: str
    """Title of the column; empty: the row as a whole."""
    value: str
    why: str


class BadRowError(Exception):
    """A row that is left out."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.why for fault in faults))
        self.faults = tuple(faults)


def guess(columns: Sequence[str]) -> dict[str, str]:
    """What the columns most likely are, by their titles; a column nobody knows is missing."""
    mapping: dict[str, str] = {}
    for column in columns:
        title = re.sub(r"[^a-z0-9]+", " ", folded(column)).strip()
        field = next((field for pattern, field in _KNOWN.items() if re.fullmatch(pattern, title)), None)
        if field is not None and (field in MANY or field not in mapping.values()):
            mapping[column] = field
    return mapping


def check(columns: Sequence[str], mapping: Mapping[str, str]) -> str | None:
    """What is wrong with a mapping, as a sentence; None: nothing."""
    unknown = [column for column in mapping if column not in columns]
    if unknown:
        return f"There is no column {unknown[0]}."
    wrong = [field for field in mapping.values() if field not in FIELDS]
    if wrong:
        return f"{wrong[0]} is none of {', '.join(FIELDS)}."
    twice = next((field for field in FIELDS if field not in MANY and list(mapping.values()).count(field) > 1), None)
    if twice is not None:
        return f"Only one column can be {twice}."
    if not {"phones", "id", "mails"} & set(mapping.values()):
        return "A column with telephone numbers, mail addresses or ids is needed to recognise people by."
    return None


def contact_of(
    row: Sequence[str], columns: Sequence[str], mapping: Mapping[str, str], *, system: str, region: str | None
) -> ContactFields:
    """The contact that a row describes.

    Args:
        row: Its values.
        columns: The titles, in the order of the values.
        mapping: Title to one of `FIELDS`.
        system: Under which the row's id is kept.
        region: ISO 3166 alpha-2 country in which numbers without `+` are read.

    Raises:
        BadRowError: With everything that is wrong.
    """
    if len(row) != len(columns):
        raise BadRowError([Fault("", "", f"The row has {len(row)} values, and there are {len(columns)} columns.")])
    given: dict[str, Any] = {"custom": {}, "external": {}}
    origin: dict[str, list[tuple[str, str]]] = {}
    for column, value in zip(columns, (value.strip() for value in row), strict=True):
        field = mapping.get(column)
        if field is None or not value:
            continue
        origin.setdefault(field, []).append((column, value))
        if field == "custom":
            given["custom"][column] = value
        elif field == "id":
            given["external"][system] = value
        elif field in MANY:
            given[field] = f"{given[field]};{value}" if field in given else value
        else:
            given[field] = value
    if "name" not in given:
        given["name"] = " ".join(filter(None, (given.get("first_name"), given.get("last_name"))))
    try:
        fields = tidy(given, region=region)
    except FieldsError as error:
        raise BadRowError(_faults(error, origin)) from error
    if not (fields.phones or fields.mails or fields.external):
        raise BadRowError([Fault("", "", "The row has neither a telephone number nor a mail address nor an id.")])
    return fields


def _faults(error: FieldsError, origin: Mapping[str, list[tuple[str, str]]]) -> list[Fault]:
    """Each with the column that it comes from: of several the one whose value is named."""
    faults = []
    for field, why in error.faults.items():
        wheres = origin.get("id" if field == "external" else field) or origin.get("first_name") or [("", "")]
        column, value = next(((column, value) for column, value in wheres if value[:20] in why), wheres[0])
        faults.append(Fault(column, value, why))
    return faults


def harmless(value: str) -> str:
    """*value* as a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value
