"""Reading flows: strict, every fault at once, with file, line, column and what to do about it."""

import contextlib
import shutil
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivr_flows.loader import FLOWS, PROMPTS, FlowErrors, check, load_flow
from ivr_flows.model import FlowFile, PresetsFile
from ivr_flows.reader import WARNINGS, Document, Problem

GOOD = """\
flow: good
version: 1
numbers: ["+15550100200"]
languages: {default: en, available: [en]}
prompts: p
start: first
states:
  first:
    - answer
    - menu:
        prompt: menu
        keys: {"1": wait, "2": out}
        no_input: out
        no_match: {prompts: [menu], goto: out}
  wait:
    - queue:
        name: support
        treatment:
          - music: calm
          - announce: {every: 60s}
        limits: {wait: 10m}
        then: {answered: out, waited_out: out}
  out:
    - say: bye
    - hangup
"""
PROMPT_FILE = """\
language: en
prompts:
  menu: {say: "Press 1.", audio: []}
  bye: {say: "Bye.", audio: []}
  queue_next: {say: "Next.", audio: []}
  queue_position: {say: "Number {position:number}.", audio: []}
  ewt_less_than_minute: {say: "Soon.", audio: []}
  ewt_about: {say: "About {high:minutes}.", audio: []}
  ewt_band: {say: "{low:number} to {high:minutes}.", audio: []}
  ewt_longer_than_usual: {say: "Longer.", audio: []}
  ewt_longer_than_told: {say: "Sorry.", audio: []}
  first: {text: "{brand}: hello. Msg & data rates may apply. STOP to opt out, HELP for help."}
"""


class Folder:
    """A flow with its prompts on disk."""

    def __init__(self, path: Path) -> None:
        self.flow = path / "flows" / "good.yaml"
        self.prompts = path / "prompts"
        self.english = self.prompts / "p" / "en.yaml"
        for folder in (self.flow.parent, self.english.parent, self.prompts / "words"):
            folder.mkdir(parents=True)
        for words in (PROMPTS / "words").glob("*.yaml"):
            shutil.copy(words, self.prompts / "words")
        self.write()

    def write(self, old: str = "", new: str = "", prompts: tuple[str, str] = ("", "")) -> None:
        assert old in GOOD
        assert prompts[0] in PROMPT_FILE
        self.flow.write_text(GOOD.replace(old, new) if old else GOOD)
        self.english.write_text(PROMPT_FILE.replace(*prompts) if prompts[0] else PROMPT_FILE)

    def problems(self) -> list[Problem]:
        return check([self.flow])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_sound_flow_has_no_problems_and_a_revision_of_everything_it_is_made_of(folder: Folder) -> None:
    """The revision changes with the prompts too."""
    flow = load_flow(folder.flow)
    assert folder.problems() == []
    assert flow.queues_named() == {"support"}
    assert load_flow(folder.flow).revision == flow.revision
    folder.write(prompts=("Press 1.", "Press one."))
    assert load_flow(folder.flow).revision != flow.revision


def test_the_flow_that_ships_has_no_problems() -> None:
    """Not even warnings."""
    assert check([FLOWS / "support.yaml"]) == []


OFFER = "- offer_sms: {prompt: menu, queue: support, desk: texts, accepted: out, declined: wait}"
OPEN = "- sms.open: {desk: texts, text: first, say: bye, apology: bye, failed: out}"
WRONG = [
    # what is changed, what into, code, line, word of the remedy or message
    ("flow: good", "flow: [good", "F001", 2, ""),
    ("flow: good", "flow: *good", "F001", 1, "write * and # as"),
    ("flow: good", "flow: &a good", "F001", 1, "aliases"),
    ("flow: good", "\tflow: good", "F001", 1, ""),
    ("start: first", "start: first\nstart: wait", "F002", 7, "line 6"),
    ("    - say: bye\n", "    - sya: bye\n", "F003", 24, "'say'"),
    ("prompt: menu\n", "promt: menu\n", "F003", 11, "'prompt'"),
    ("        prompt: menu\n", "", "F004", 10, "prompt"),
    ("prompts: p\n", "", "F004", 1, "prompts"),
    ("every: 60s", "every: 60", "F005", 20, "5s, 2m"),
    ("version: 1", "version: 2", "F005", 2, "'2'"),
    ("    - hangup", "    - hangup: {reason: [a]}", "F005", 25, "one value"),
    ("    - answer", "    - {answer: , hangup: }", "F005", 9, "one key"),
    ('"1": wait', '"12": wait', "F005", 12, "key"),
    ("treatment:\n", "treatment: music\n        keys:\n", "F005", 18, "list"),
    ("available: [en]", "available: {en: 1}", "F005", 4, "list"),
    ("keys: {", "first_key: soon\n        keys: {", "F005", 12, "5s"),
    ("prompt: menu\n", "prompt: menu\n        barge_in: no\n", "F005", 12, "true or false"),
    ("prompt: menu\n", "prompt: Menu\n", "F005", 11, "small letters"),
    ('"+15550100200"', "+15550100200", "F006", 3, "quotes"),
    ('"+15550100200"', '"15550100200"', "F005", 3, "+15550100200"),
    ("    - hangup", "    - set: {a: 1 +}\n    - hangup", "F005", 25, "character 4"),
    ("    - hangup", "    - set: {waited: 1}\n    - hangup", "F005", 25, "fact"),
    ('"2": out', '"2": outt', "F010", 12, "'out'"),
    ("start: first", "start: frist", "F010", 6, "'first'"),
    ("default: en", "default: fr", "F010", 4, "en"),
    ("    - hangup", "    - set: {a: topic}\n    - hangup", "F010", 25, "topic"),
    ("name: support", "name: support\n        skills: ['{topic}']", "F010", 18, "topic"),
    ("    - hangup", "    - hangup\n  alone: [hangup]", "F011", 26, "alone"),
    ("    - hangup", "    - set: {a: 1}", "F012", 23, "goto"),
    ("    - hangup", "    - goto: first\n    - hangup", "F012", 26, "never reached"),
    ("    - say: bye\n    - hangup", "    []", "F012", 23, "no actions"),
    ("    - hangup", "    - goto: out", "F013", 23, "waiting"),
    ("    - hangup", "    - hangup\n    - say: bye", "F020", 26, "'say'"),
    ("waited_out: out}", "waited_out: out, hung_up: out}", "F020", 24, "'say'"),
    ("    - answer\n", "    - say: bye\n    - answer\n", "F022", 9, "'say'"),
    ("        no_input: out\n", "", "F021", 10, "no_input"),
    (", waited_out: out}", "}", "F021", 16, "waited_out"),
    ("limits: {wait: 10m}", "limits: {wait: 10m, no_agents: 1m}", "F021", 16, "no_agents"),
    ("    - hangup", "    - choose: [{when: waited > 1m, goto: out}]", "F021", 25, "otherwise"),
    ("    - hangup", "    - choose: [{otherwise: out}, {when: waited > 1m, goto: out}]", "F021", 25, "when"),
    ("    - hangup", '    - collect: {prompt: menu, into: a, digits: "4"}\n    - hangup', "F021", 25, "failed"),
    ('"2": out', ", ".join(f'"{n}": out' for n in range(2, 8)), "F023", 12, "7"),
    ("prompt: menu\n", "prompt: menuu\n", "F030", 11, "'menu'"),
    ("prompt: menu\n", "prompt: first\n", "F030", 11, "say"),
    ("    - hangup", "    - sms.send: {text: first, purpose: marketing}\n    - hangup", "F040", 25, "consent"),
    ("    - hangup", "    - sms.send: {text: first, purpose: spam}\n    - hangup", "F010", 25, "spam"),
    ("    - hangup", "    - choose: [{when: ewt('s').low > 1m, goto: out}, {otherwise: out}]", "F050", 25, "known"),
    ("    - hangup", f"    {OFFER}", "F051", 25, "unreachable"),
    ("every: 60s", "every: 10s", "F053", 20, "30s"),
    ("- music: calm\n", "- music: calm\n          - music: calm\n", "F002", 20, "twice"),
    (
        "        treatment:\n          - music: calm\n          - announce: {every: 60s}\n",
        '        keys: {"1": out}\n        treatment: [offer_sms: {prompt: menu, hello: first, ask: [{into: a, text: first}]}]\n',
        "F052", 19, "'1'",
    ),
    ("- music: calm\n", "- offer_sms: {prompt: menu, hello: first, ask: []}\n", "F004", 19, "ask"),
    ("- music: calm\n", "- offer_callback: {prompt: menu, to: out}\n", "F054", 19, "callback"),
    ("- music: calm\n", "- offer_callback: {prompt: menu, to: out, every: 10s}\n", "F053", 19, "30 s"),
    (
        "        treatment:\n          - music: calm\n",
        '        keys: {"2": out}\n        treatment:\n          - offer_callback: {prompt: menu, to: out}\n',
        "F052", 20, "'2'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "line", "said"), WRONG, ids=[f"{case[2]}-{n}" for n, case in enumerate(WRONG)])
def test_each_fault_is_found_where_it_stands(folder: Folder, old: str, new: str, code: str, line: int, said: str) -> None:
    """Code, line and a remedy that helps."""
    folder.write(old, new)
    found = [problem for problem in folder.problems() if problem.code == code]
    assert found, [str(problem) for problem in folder.problems()]
    assert line in {problem.line for problem in found}, [str(problem) for problem in found]
    assert any(said in f"{problem.message}; {problem.remedy}" for problem in found), [str(problem) for problem in found]


WRONG_PROMPTS = [
    ("bye: {", "byee: {", "F030", ""),
    ("Bye.", "Bye {topic}.", "F035", "topic:number"),
    ("Bye.", "Bye {topic:number}.", "F010", "topic"),
    ('"Bye.", audio: []', '"Bye."', "F036", "p/en/bye.wav"),
    ("{brand}: hello", "Example: hello", "F034", "{brand}"),
    ("STOP", "QUIT", "F034", "STOP"),
    ("Msg & data rates", "Msg & data prices", "F034", "rates"),
    ("hello", "hello ê", "F033", "ê"),
    ("hello", "hello" * 70, "F033", "less"),
    ("hello", "call +15550100200", "F060", "{called}"),
    ("language: en", "langauge: en", "F003", "language"),
    ("menu: {say", "menu: {sya", "F003", "say"),
]


@pytest.mark.parametrize(("old", "new", "code", "said"), WRONG_PROMPTS)
def test_faults_of_prompts_are_found_in_their_file(folder: Folder, old: str, new: str, code: str, said: str) -> None:
    """The problem names the catalogue, or the flow where a prompt is missing."""
    folder.write("    - hangup", f"    {OPEN}\n    - hangup", prompts=(old, new))
    found = [problem for problem in folder.problems() if problem.code == code]
    assert found, [str(problem) for problem in folder.problems()]
    assert any(said in f"{problem.message}; {problem.remedy}" for problem in found)
    assert all(problem.file.endswith("good.yaml" if code == "F030" else "en.yaml") for problem in found)


def test_languages_say_the_same_with_the_same_placeholders(folder: Folder) -> None:
    """A translation that lacks a prompt is a warning, one that lacks a placeholder an error."""
    folder.write("available: [en]", "available: [en, fr]")
    french = (
        PROMPT_FILE.replace("language: en", "language: fr")
        .replace("{position:number}", "")
        .replace('  bye: {say: "Bye.", audio: []}\n', "")
    )
    (folder.prompts / "p" / "fr.yaml").write_text(french)
    assert {(problem.code, problem.level) for problem in folder.problems()} == {("F031", "warning"), ("F032", "error")}


def test_a_language_without_its_file_is_an_error(folder: Folder) -> None:
    """The remedy says which file."""
    folder.write("available: [en]", "available: [en, fr]")
    assert [problem.code for problem in folder.problems()] == ["F030"]
    assert folder.problems()[0].file.endswith("p/fr.yaml")


def test_all_faults_come_at_once_in_the_order_of_lines(folder: Folder) -> None:
    """Nobody has to run a check ten times."""
    folder.flow.write_text(
        GOOD.replace("- answer\n", "- anser\n").replace("every: 60s", "evry: 60s").replace("say: bye", "say: {}")
    )
    problems = folder.problems()
    assert [(problem.code, problem.line) for problem in problems] == [("F003", 9), ("F003", 20), ("F004", 24)]
    with pytest.raises(FlowErrors) as caught:
        load_flow(folder.flow)
    assert list(caught.value.problems) == problems
    assert "F003 there is no step 'anser' here; did you mean 'answer'?" in str(caught.value)


def test_warnings_do_not_keep_a_flow_from_being_used(folder: Folder) -> None:
    """They are for `check` to show."""
    folder.write("every: 60s", "every: 10s")
    assert load_flow(folder.flow).name == "good"
    assert {problem.code for problem in folder.problems()} <= WARNINGS


def test_what_is_no_text_is_refused(folder: Folder) -> None:
    """A file of another encoding or of no content."""
    folder.flow.write_bytes(b"flow: caf\xe9")
    assert [problem.code for problem in folder.problems()] == ["F001"]
    folder.flow.write_text("# nothing\n")
    assert [problem.code for problem in folder.problems()] == ["F001"]
    folder.flow.write_text("[" * 5000)
    assert [problem.code for problem in folder.problems()] == ["F001"]
    folder.flow.write_text("a: " + "x" * 1_000_001)
    assert [problem.code for problem in folder.problems()] == ["F001"]
    with pytest.raises(FileNotFoundError):
        load_flow(folder.flow.with_name("nowhere.yaml"))


def test_presets_come_with_their_languages(folder: Folder) -> None:
    """They are optional."""
    (folder.prompts / "p" / "presets.yaml").write_text("presets: [{id: a, title: {en: A}, text: {en: Hello}}]\n")
    flow = load_flow(folder.flow)
    assert [(preset.id, preset.text["en"]) for preset in flow.presets] == [("a", "Hello")]
    (folder.prompts / "p" / "presets.yaml").write_text("presets: [{id: a}]\n")
    assert {problem.code for problem in folder.problems()} == {"F004"}


def test_yaml_takes_nothing_for_something_else() -> None:
    """Of the things YAML 1.1 turns into numbers and booleans, nothing is turned."""
    document = Document("x")
    source = "presets: [{id: 010, title: {no: yes}, text: {en: 17:30}}]"
    read = document.read(PresetsFile, source)
    assert isinstance(read, PresetsFile), document.problems
    assert (read.presets[0].id, dict(read.presets[0].title), dict(read.presets[0].text)) == (
        "010",
        {"no": "yes"},
        {"en": "17:30"},
    )


_TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)


@given(st.recursive(_TEXT, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)))
def test_any_structure_is_read_or_refused_with_problems(value: object) -> None:
    """The reader never fails in another way, and never returns nothing without a reason."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only this test writes YAML
    from ruamel.yaml.compat import StringIO  # noqa: PLC0415

    stream = StringIO()
    with contextlib.suppress(Exception):
        YAML(typ="safe", pure=True).dump({"states": value}, stream)
    document = Document("x")
    assert document.read(FlowFile, stream.getvalue()) is not None or document.problems


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_problems(source: str) -> None:
    """The same for what is no YAML."""
    document = Document("x")
    assert document.read(FlowFile, textwrap.dedent(source)) is not None or document.problems
