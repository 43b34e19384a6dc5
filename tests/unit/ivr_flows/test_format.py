"""The one layout of flow files."""

from pathlib import Path

import pytest

import ivr_flows
from ivr_flows.format import NotYamlError, formatted

UNTIDY = """# a comment that stays
flow:   demo
states:
    greet:
    - answer
    - say:   "hello"   # said first
"""
TIDY = """# a comment that stays
flow: demo
states:
  greet:
    - answer
    - say: "hello"     # said first
"""


def test_layout_is_made_one_and_comments_and_quotes_stay() -> None:
    """Indentation and spaces are set; what people wrote for people is left alone."""
    assert formatted(UNTIDY) == TIDY


def test_formatting_twice_changes_nothing_more() -> None:
    """A formatted file is its own formatted form."""
    assert formatted(formatted(UNTIDY)) == formatted(UNTIDY)


@pytest.mark.parametrize("path", sorted((Path(ivr_flows.__file__).parent / "flows").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_flows_are_formatted(path: Path) -> None:
    """What we ship is laid out as we tell others to."""
    assert formatted(path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8")


def test_a_file_that_is_not_yaml_is_refused_with_its_place() -> None:
    """The line is named, and nothing is returned that could overwrite the file."""
    with pytest.raises(NotYamlError, match="line 2"):
        formatted("a: [1\nb: }")


def test_an_empty_file_stays_as_it_is() -> None:
    """There is nothing to lay out."""
    assert formatted("# nothing yet\n") == "# nothing yet\n"
