"""Scripts against flows, the drawing and the schema."""

from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from ivr_flows import outputs as out
from ivr_flows.describe import graph, schema
from ivr_flows.expressions import FUNCTIONS
from ivr_flows.facts import Facts
from ivr_flows.loader import FLOWS, PROMPTS, FlowErrors, load_flow
from ivr_flows.model import ACTIONS, TREATMENTS
from ivr_flows.reader import WARNINGS
from ivr_flows.simulate import Simulator, describe, run_tests

FLOW = load_flow(FLOWS / "support.yaml")
DOCS = Path(__file__).parents[3] / "docs" / "flow-language.md"


@pytest.mark.parametrize("result", run_tests(FLOWS / "support.test.yaml"), ids=lambda result: result.test)
def test_the_scripts_that_ship_hold(result: object) -> None:
    """Each line of a script happens."""
    assert getattr(result, "failure", None) == ""


def test_the_scripts_that_ship_come_to_every_state() -> None:
    """A state nobody tests is a state nobody knows."""
    visited = set[str]().union(*(result.states for result in run_tests(FLOWS / "support.test.yaml")))
    assert visited == set(FLOW.states)


@pytest.mark.parametrize(
    ("steps", "line", "said"),
    [
        ("[call, {hears: main_menu@fr}]", 4, "main_menu@fr is heard"),
        ("[press: '1']", 4, "nobody has called"),
        ("[call, {agent: answers}]", 4, "takes no 'agent' now: it waits for ForPrompt"),
        ("[call, {hears_no: main_menu}]", 4, "main_menu was heard"),
        ("[call, {wait: 60s}, {joins: {queue: support, waited: 9m}}]", 4, "the place was kept"),
        ("[call, {desk_card: {desk: support_sms}}]", 4, "got no conversation"),
        ("[call, {variables: {topic: x}}]", 4, "the variables are"),
        ("[call, hangs_up, {call_ends: deflected}]", 4, "the call ends: deflected"),
        ("[call, {gets_text: text_hello}]", 4, "a text text_hello is sent"),
    ],
)
def test_a_script_that_does_not_hold_says_where_and_why(tmp_path: Path, steps: str, line: int, said: str) -> None:
    """The line of the step, and what happened instead."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "support.yaml").write_text((FLOWS / "support.yaml").read_text())
    script = tmp_path / "flows" / "support.test.yaml"
    script.write_text(f"flow: support\ntests:\n  - test: it fails\n    steps: {steps}\n")
    (result,) = run_tests(script, prompts=PROMPTS)
    assert result.line == line
    assert said in result.failure


def test_a_script_is_read_as_strictly_as_a_flow(tmp_path: Path) -> None:
    """With its place and a remedy."""
    script = tmp_path / "x.test.yaml"
    script.write_text("flow: support\ntests:\n  - test: a\n    steps: [calls]\n")
    with pytest.raises(FlowErrors, match="did you mean 'call'"):
        run_tests(script)


def test_a_state_that_a_script_should_cover_and_does_not_fails_it(tmp_path: Path) -> None:
    """`covers` is a promise."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "support.yaml").write_text((FLOWS / "support.yaml").read_text())
    script = tmp_path / "flows" / "support.test.yaml"
    script.write_text("flow: support\ntests:\n  - {test: a, steps: [call], covers: [hold]}\n")
    (result,) = run_tests(script, prompts=PROMPTS)
    assert result.failure == "never came to hold"


def test_the_simulator_plays_a_call_by_hand() -> None:
    """As the terminal does it."""
    simulator = Simulator(FLOW, Facts(called="+15550100200", caller="+15550109999", can_text=True, brand="Example"))
    simulator.call()
    assert not simulator.text("hello")
    assert simulator.press("1")
    assert simulator.press("2")
    assert simulator.press("1")
    simulator.wait(30)
    assert simulator.ended
    assert simulator.log[-1].output == out.Ended("deflected")
    told = list(describe(simulator.log))
    assert "texts text_hello@en" in told
    assert "says welcome@en" in told


def test_the_drawing_shows_every_state_and_where_it_leads() -> None:
    """Mermaid, to be pasted anywhere."""
    drawn = graph(FLOW)
    assert drawn.startswith("flowchart TD\n")
    assert all(f"s_{state}[" in drawn for state in FLOW.states)
    assert '  s_triage -- "otherwise" --> s_hold\n' in drawn
    assert '  s_main_menu -- "key 1" --> s_billing\n' in drawn


def test_the_schema_takes_the_flow_that_ships_and_refuses_what_the_loader_refuses() -> None:
    """Editors complete and check by it."""
    form = schema()
    jsonschema.Draft202012Validator.check_schema(form)
    validator = jsonschema.Draft202012Validator(form)
    flow = YAML(typ="safe", pure=True).load((FLOWS / "support.yaml").read_text())
    assert not list(validator.iter_errors(flow))
    flow["states"]["goodbye"][0] = {"sya": "goodbye"}
    assert list(validator.iter_errors(flow))


def test_the_handbook_names_every_action_treatment_function_and_code() -> None:
    """Nothing can be added to the language without being written up."""
    text = DOCS.read_text()
    lint = (Path(__file__).parents[3] / "ivr_flows" / "lint.py").read_text()
    codes = {word[:4] for word in lint.split('"') if word[:1] == "F" and word[1:4].isdecimal()} | WARNINGS
    for name in (*ACTIONS, *TREATMENTS, *FUNCTIONS, *codes):
        assert f"`{name}`" in text or f"`{name}(" in text, name
