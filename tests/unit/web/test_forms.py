"""Forms made from the models of the settings: what is shown comes back as it was, and what is as usual is left out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bridge.settings import AgentSettings, HoursSettings, NumberSettings, PresetSettings, QueueSettings
from bridge.web.console.forms import Field, form_of, read, setting, words

QUEUE: dict[str, Any] = {
    "id": "support",
    "title": "Help: 24/7",
    "channel": "voice",
    "transfers": False,
    "ring_timeout": 25,
    "skills": ["billing>=4", "lang:fr"],
    "cascade": [{"after": 10, "teams": ["day"]}],
    "redirect": {"to": "other", "rings": 2},
    "offers": {"threshold": 30, "probability": 0.25, "callback": "never"},
    "target": {"share": 0.9},
    "numbers": ["+15550100200"],
}


def typed(model: type[BaseModel], values: dict[str, Any], **options: Any) -> dict[str, str]:
    """What a browser sends of the form as it is."""
    sent: dict[str, str] = {}
    for group in form_of(model, values, **options):
        for field in group.fields:
            sent |= _sent(field)
    return sent


def _sent(field: Field) -> dict[str, str]:
    match field.kind:
        case "check":
            return {field.key: "on"} if field.value else {}
        case "many":
            return {f"{field.key}={choice}": "on" for choice in field.value}
        case "week" | "words":
            return {f"{field.key}.{name}": said for name, said in field.value.items()}
        case _:
            return {field.key: field.value}


def said(entry: dict[str, Any]) -> dict[str, Any]:
    """Without what is as usual."""
    return {key: value for key, value in entry.items() if value is not None}


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (QueueSettings, QUEUE),
        (AgentSettings, {"id": "ann", "name": "Ann", "roles": ["agent", "supervisor"], "queues": ["a"], "max_chats_for_call": 0}),
        (NumberSettings, {"number": "+15550100200", "desk": "a", "sender": {"registered": False, "per_second": 0.5}}),
        (HoursSettings, {"zone": "Europe/Paris", "week": {"mon": ["09:00-12:00", "13:00-17:30"], "sun": ["00:00-24:00"]}}),
        (PresetSettings, {"id": "hi", "title": {"en": "Hi", "pt": "Oi"}, "text": {"en": "Two\nlines"}}),
    ],
)
def test_a_form_that_nobody_touched_changes_nothing(model: type[BaseModel], values: dict[str, Any]) -> None:
    """Every kind of field gives back what it shows; what is as usual is not written down."""
    usual = {key: value for key, value in values.items() if model.model_fields[key].default != value}
    entry, wrong = read(model, typed(model, values))
    assert (said(entry), wrong) == (usual, {})


@given(
    st.fixed_dictionaries(
        {"id": st.just("q")},
        optional={
            "title": st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
            "wrap_up": st.floats(0, 1e6, allow_nan=False),
            "capacity": st.integers(0, 10**6),
            "auto_answer": st.booleans(),
            "teams": st.lists(st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True), min_size=1),
            "strategy": st.sampled_from(["longest_idle", "ring_all"]),
        },
    )
)
def test_any_entry_goes_through_its_form(values: dict[str, Any]) -> None:
    """And means the same afterwards."""
    entry, wrong = read(QueueSettings, typed(QueueSettings, values))
    assert wrong == {}
    assert QueueSettings(**said(entry)) == QueueSettings(**values)


@pytest.mark.parametrize(("typed_in", "meant"), [("never", "never"), ("90", 90), ("1.5", 1.5), ("always", None)])
def test_a_number_may_have_a_word_in_its_place(typed_in: str, meant: object) -> None:
    """Seconds, or one of the words that the setting knows; what is so anyway is left out."""
    entry, wrong = read(QueueSettings, typed(QueueSettings, QUEUE) | {"offers.callback": typed_in})
    assert (entry["offers"].get("callback"), wrong) == (meant, {})


def test_what_cannot_be_read_stays_as_it_was_typed() -> None:
    """A number that is none is left to the check of the settings, YAML that is none is told at its field."""
    entry, wrong = read(QueueSettings, {"id": "q", "wrap_up": "soon", "cascade": "- ["})
    assert (entry["wrap_up"], entry["cascade"]) == ("soon", "- [")
    assert list(wrong) == ["cascade"]
    [first, *_] = form_of(QueueSettings, said(entry), wrong=wrong)
    shown = {field.key: field for field in first.fields}
    assert (shown["wrap_up"].value, shown["cascade"].value, bool(shown["cascade"].wrong)) == ("soon", "- [", True)


def test_a_form_says_what_it_is_about() -> None:
    """Meaning and default of each, choices where there are some, and which key cannot be changed."""
    groups = form_of(QueueSettings, QUEUE, choices={"desk": ["chats"], "numbers": ["+1"]}, without=("chat",), fixed="id")
    fields = {field.key: field for group in groups for field in group.fields}
    assert (fields["id"].fixed, fields["id"].required, fields["title"].fixed) == (True, True, False)
    assert (fields["desk"].kind, fields["desk"].choices) == ("select", ("chats",))
    assert (fields["numbers"].kind, fields["numbers"].choices) == ("many", ("+1",))
    assert (fields["ring_timeout"].default, fields["ring_timeout"].help) == ("20", "how long work rings at one desk")
    assert fields["offers.threshold"].id == "f-offers-threshold"
    assert "chat.expire" not in fields
    assert [group.title for group in groups][:1] == [""]
    assert "Offers" in {group.title for group in groups}


def test_a_value_is_one_line() -> None:
    """As people read it."""
    assert [setting(each) for each in (None, "", True, 20.0, 0.5, "x", ["a", 1.0], {"en": "Hi"}, [])] == [
        "\N{EN DASH}",
        "\N{EN DASH}",
        "true",
        "20",
        "0.5",
        "x",
        "a, 1",
        "en: Hi",
        "\N{EN DASH}",
    ]
    assert words("offers.sms_max") == "Sms max"
