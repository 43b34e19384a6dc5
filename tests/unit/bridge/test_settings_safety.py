"""Settings that would leave a door open are refused, or stand for the closed door."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.cli import main
from bridge.settings import Settings, SettingsError, load_settings
from bridge.sip.digest import Credentials
from bridge.telephony.sip import SipConfig
from bridge.web.server import TwilioConfig, WebConfig

HIDDEN = "dont-print-this-1234"


def load(folder: Path, text: str) -> Settings:
    path = folder / "sidetone.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


@pytest.mark.parametrize(
    "text",
    [
        "web: {api_tokens: [{file: EMPTY}]}",
        "web: {api_tokens: ['']}",
        "web: {api_tokens: [short]}",
        "{web: {api_tokens: [sixteen-characters]}, api: {keys: [{name: admin, token: sixteen-and-more, scopes: [hooks]}]}}",
        "sip: {users: {ana: {file: EMPTY}}}",
        "twilio: {account_sid: AC0, auth_tokens: [{file: EMPTY}]}",
        "twilio: {account_sid: AC0, auth_tokens: [t], api_base_url: 'http://api.example.com'}",
        "twilio: {account_sid: AC0, auth_tokens: [t], api_base_url: 'api.example.com'}",
        "public_url: bridge.example.com",
        "public_url: 'https://bridge.example.com/?x'",
        "sip: {allowed_networks: [everybody]}",
        "sip: {allowed_networks: [10.0.0.1/8]}",
    ],
)
def test_what_would_leave_a_door_open_is_refused(tmp_path: Path, text: str) -> None:
    """An empty or short secret, credentials in clear text, an address nobody can be sure of."""
    (tmp_path / "empty").write_text("\n")

    with pytest.raises(SettingsError) as refused:
        load(tmp_path, text.replace("EMPTY", str(tmp_path / "empty")))
    assert "sidetone.yaml:1:" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "whom"),
    [
        ({}, "this machine"),
        ({"web": {"host": "localhost"}}, "this machine"),
        ({"web": {"host": "0.0.0.0"}}, "nobody"),
        ({"public_url": "https://bridge.example.com"}, "nobody"),
        ({"web": {"phone_page": True, "host": "::"}}, "everybody"),
        ({"web": {"phone_page": False}}, "nobody"),
    ],
)
def test_the_phone_page_has_to_be_asked_for_where_others_can_reach_it(changes: dict[str, Any], whom: str) -> None:
    """It asks for no password; without a word about it only this machine gets it, and nobody through a proxy."""
    assert Settings(**changes).phone_for == whom


@pytest.mark.parametrize(
    ("changes", "secure"),
    [
        ({}, False),
        ({"public_url": "https://bridge.example.com"}, True),
        ({"public_url": "http://bridge.example.com"}, False),
        ({"public_url": "https://bridge.example.com", "web": {"secure_cookies": False}}, False),
        ({"web": {"secure_cookies": True}}, True),
    ],
)
def test_cookies_are_secure_where_the_outside_is(changes: dict[str, Any], secure: bool) -> None:
    """Who gives an https address need not think of the flag."""
    assert Settings(**changes).secure_cookies is secure


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Neither in a representation nor in what is said about a wrong file."""
    settings = load(tmp_path, f"web: {{api_tokens: [{HIDDEN}]}}\nsip: {{users: {{ana: {HIDDEN}}}}}")
    assert HIDDEN not in repr(settings)
    assert HIDDEN not in settings.model_dump_json()

    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"web: {{api_tokens: [{HIDDEN}], port: {HIDDEN}}}\nsip: {{users: {{ana: [{HIDDEN}]}}}}")
    assert HIDDEN not in str(refused.value)


def test_what_is_made_of_secrets_does_not_show_them() -> None:
    """An exception, a debugger or a careless log line prints representations."""
    things = (
        Credentials("ana", HIDDEN),
        SipConfig(users={"ana": HIDDEN}),
        WebConfig(prompts=Path(), twilio=TwilioConfig(auth_tokens=(HIDDEN,), accounts=frozenset())),
    )
    assert HIDDEN not in repr(things)


@pytest.mark.parametrize("where", [("SIDETONE_WEB__HOST", "0.0.0.0"), ("SIDETONE_SIP__HOST", "192.0.2.1")])
def test_the_demonstration_stays_on_this_machine(where: tuple[str, str]) -> None:
    """Its passwords are in the README: it does not start where others could reach it."""
    name, value = where
    started = CliRunner().invoke(main, ["demo"], env={name: value, "SIDETONE_SIP__ADVERTISED_HOST": "192.0.2.1"})

    assert started.exit_code == 2


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"brand: \x00", b"brand: \xc3("])
def test_a_file_that_is_no_text_is_refused_in_words(tmp_path: Path, raw: bytes) -> None:
    """Rather than with a traceback."""
    path = tmp_path / "sidetone.yaml"
    path.write_bytes(raw)

    with pytest.raises(SettingsError, match="no YAML"):
        load_settings(path)


def test_an_unreadable_environment_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list in the environment is written in JSON."""
    monkeypatch.setenv("SIDETONE_SIP__ALLOWED_NETWORKS", "10.0.0.0/8")

    with pytest.raises(SettingsError, match=r"environment: .*sip"):
        load(tmp_path, "brand: X")
