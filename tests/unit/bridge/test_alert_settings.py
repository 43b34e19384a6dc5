"""Alerts as they are written in the settings."""

from typing import Any

import pytest
from pydantic import ValidationError

from bridge.alerts import Rule
from bridge.settings import Settings


def settings(*alerts: dict[str, Any]) -> Settings:
    sections: dict[str, Any] = {"queues": [{"id": "support"}], "alerts": alerts}
    return Settings(**sections)


def test_an_alert_becomes_a_rule() -> None:
    """What stands in the file is what is watched."""
    written = {"name": "Long line", "on": "queue", "measure": "waiting", "above": 9, "lasting": 30, "of": ["support"]}
    [alert] = settings(written).alerts
    assert alert.rule == Rule(name="Long line", on="queue", measure="waiting", above=9.0, lasting=30.0, of=("support",))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"on": "queue", "measure": "calls", "above": 1}, "queue has no measure 'calls'"),
        ({"on": "queue", "measure": "waiting"}, "say either above or below"),
        ({"on": "queue", "measure": "waiting", "above": 1, "of": ["sales"]}, "there is no queue 'sales'"),
        ({"on": "agent", "measure": "missed", "above": 1, "of": ["zed"]}, "there is no agent 'zed'"),
        ({"on": "service", "measure": "calls", "above": 1, "to": ["mail"]}, "belong together"),
        ({"on": "service", "measure": "calls", "above": 1, "to": ["mail"], "mail": ["a@b.example"]}, "needs mail.smarthost"),
    ],
)
def test_an_alert_that_means_nothing_is_refused(wrong: dict[str, Any], why: str) -> None:
    """With words that say what to change."""
    with pytest.raises(ValidationError, match=why):
        settings({"name": "Wrong", **wrong})


def test_an_alert_has_a_name_of_its_own() -> None:
    """Two of one name could not be told apart."""
    alert = {"name": "Calls", "on": "service", "measure": "calls", "above": 1}
    with pytest.raises(ValidationError, match="alert Calls stands twice"):
        settings(alert, alert)
