"""`sidetone flow` takes menus by text as it takes flows."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bridge.cli import main
from sms.menu_loader import MENUS

SUPPORT = MENUS / "support.yaml"
DEMO = Path(__file__).parents[3] / "config" / "demo.yaml"


def run(*words: str | Path, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["flow", *map(str, words)], input=typed, env={"NO_COLOR": "1", "COLUMNS": "300"})


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The packaged menu with a wrong queue and a wrong keyword."""
    file = tmp_path / "broken.yaml"
    source = SUPPORT.read_text("utf-8").replace("[FIX]", "[STOP]").replace("default: support_sms", "default: elsewhere")
    file.write_text(source, encoding="utf-8")
    return file


def test_check_takes_flows_and_menus_together() -> None:
    """Which is which, the file says itself; settings say which queues and hours there are."""
    flow = MENUS.parents[1] / "ivr_flows" / "flows" / "support.yaml"
    done = run("check", "-c", DEMO, SUPPORT, flow)
    assert done.exit_code == 0, done.output
    assert "2 file(s), 0 error(s), 0 warning(s)" in done.output


def test_check_shows_what_is_wrong_with_a_menu(broken: Path) -> None:
    """With the line itself, and for programs as JSON. What only settings can know is checked when they are given."""
    done = run("check", broken)
    assert done.exit_code == 1
    assert "error M030 'STOP' always means STOP" in done.output
    assert "keywords: {en: [STOP]" in done.output
    assert "elsewhere" not in done.output
    found = json.loads(run("check", "--json", "-c", DEMO, broken).output)
    assert [problem["code"] for problem in found] == ["M014", "M030"]


def test_settings_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Before anything is checked against them."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("quues: []\n", encoding="utf-8")
    assert run("check", "-c", settings, SUPPORT).exit_code == 2


def test_the_packaged_menu_is_laid_out_in_the_one_way() -> None:
    """So that a diff shows what changed and nothing else."""
    assert run("fmt", "--check", SUPPORT).exit_code == 0


def test_a_menu_is_drawn_down_to_its_queues(tmp_path: Path) -> None:
    """Hidden options are dotted, languages lead back, and what is not understood has its way, too."""
    file = tmp_path / "menu.yaml"
    file.write_text(
        SUPPORT.read_text("utf-8").replace("    keywords: {en: [FIX]", "    hidden: true\n    keywords: {en: [FIX]"), "utf-8"
    )
    lines = run("graph", file).output.splitlines()
    assert lines[0] == "flowchart LR"
    assert '  m_0 --> m_0_0["Pay a bill<br/>PAY, PAYER, PAGAR"]' in lines
    assert "  m_0_0 --> q_support_sms[/support_sms/]" in lines
    assert '  m -.-> m_1["Technical help<br/>FIX, PANNE, AVERIA"]' in lines
    assert '  m_4 -. "fr" .-> m' in lines
    assert '  m -- "not understood" --> q_support_sms[/support_sms/]' in lines


def test_a_menu_is_tried_with_texts_from_the_command_line() -> None:
    """Texts, what they cost, what was understood, and the line one ends in."""
    says = ["hello", "1", "2", "my bill is too high", "back", "EXIT", "STOP"]
    output = run("sim", SUPPORT, "-c", DEMO, *(word for text in says for word in ("--say", text))).output
    for expected in (
        "> hello\ntext Northwind support: recurring messages",
        "     1 Billing\n     2 Technical help\n",
        "opt_in: 2 segment(s) of GSM7\nthe first text\n",
        "number 1 (Billing)\n",
        "number 2 (Billing > A question about a bill)\nin line for support_sms\n",
        "> my bill is too high\nfor the agent in support_sms\n",
        "> back\ntext What is it about?",
        "> EXIT\ntext Thank you. Text us again whenever you like.",
        "over; the next text begins anew\n",
        "> STOP\ntext Northwind: you will get no more texts from us.",
        "STOP is obeyed before the menu is asked\n",
    ):
        assert expected in output, output


def test_a_menu_is_tried_by_typing() -> None:
    """Until `quit`, or the end of the input."""
    output = run("sim", SUPPORT, "--language", "fr-CA", typed="bonjour\npanne\nquit\nnever read\n").output
    assert "De quoi s'agit-il ?" in output
    assert "keyword panne (Technical help)" in output
    assert "never read" not in output
    assert "opt_in" in run("sim", SUPPORT, typed="hello").output


def test_a_broken_menu_is_neither_drawn_nor_tried(broken: Path) -> None:
    """What is wrong with it is said instead."""
    for words in (("graph", broken), ("sim", broken, "--say", "hello")):
        done = run(*words)
        assert done.exit_code == 1
        assert "M030" in done.stderr
