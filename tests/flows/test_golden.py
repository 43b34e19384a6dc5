"""Golden logs: one scripted caller per kind of action, everything the run said compared line by line.

Written anew with `SIDETONE_GOLDEN=write pytest tests/flows`; the difference is for a person to read.
"""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ivr_flows import outputs as out
from ivr_flows.facts import Desk, Ewt, Facts, Hours
from ivr_flows.loader import load_flow
from ivr_flows.model import ACTIONS, TREATMENTS
from ivr_flows.run import FlowRun, ResumeRefused

HERE = Path(__file__).parent
HEAD = """\
flow: golden
numbers: ["+15550100200"]
languages: {default: en, available: [en, fr]}
prompts: plain
hours: opening
start: first
states:
"""
FACTS = Facts(
    called="+15550100200",
    caller="+15550109999",
    can_text=True,
    country="CA",
    contact_language="fr",
    brand="Example",
    ewt={"support": Ewt("ok", "learned", 400, 100, 380, 500, 900)},
    desks={"support": Desk(True), "texts": Desk(True, open_slots=4)},
    hours={"opening": Hours("open"), "a": Hours("closed", 500.0), "b": Hours("holiday")},
    position=4,
    remaining=Ewt("ok", "learned", 250, 60, 200, 330, 500),
    to_call={"+15550109999": "+15550109999", "5550108888": "+15550108888"}.get,
)
WAKE = "wake"
Steps = list[tuple[float, out.AnyResume | str | dict[str, Any]]]
"""Time, and a resume, `wake`, or facts that change."""

QUEUE = """\
first:
  - answer
  - set: {topic: "'billing'", number: "''"}
  - queue:
      name: support
      skills: ["lang:{language}", "{topic}", "{number}"]
      priority: "topic == 'billing' ? 0 : 2"
      treatment: [TREATMENT]
      keys: {"0": out}
      whisper: card
      limits: {wait: 30m, no_agents: 2m}
      then: {answered: out, waited_out: out, no_agents: out, hung_up: gone}
out: [{say: bye}, hangup]
gone: [{sms.send: {text: hello, if: waited > 60s}}, end: gave_up]
"""
HOLD_OFFER = (
    "{offer_sms: {kind: hold, after: 20s, prompt: offer, hello: hello, accepted: look, failed: sorry, "
    "ask: [{into: why, text: ask_why}, {into: photo, text: ask_photo, media: true}], thanks: thanks}}"
)
CALLED_BACK = """\
first:
  - answer
  - set: {topic: "'billing'", number: "''"}
  - queue:
      name: support
      skills: ["lang:{language}"]
      treatment:
        - music: calm
        - announce: {after: 15s}
        - offer_callback: {prompt: offer_call, to: sure, after: 10s, every: 60s}
      whisper: card
      then: {answered: out}
sure:
  - menu:
      prompt: confirm_call
      keys: {"1": agreed, "2": other, "3": first}
      no_input: {prompts: [], goto: agreed}
      no_match: {prompts: [], goto: agreed}
other:
  - collect: {prompt: number, into: number, digits: 7-15, failed: agreed}
  - say: read_number
  - callback: {queue: support, number: number, say: call_soon, failed: sure}
  - hangup: callback
agreed: [{callback: {queue: support, priority: "0", say: call_soon, window: call_window, failed: out}}, hangup: callback]
out: [{say: bye}, hangup]
"""
LATER = """\
first: [answer, {callback: {queue: support, hours: a, say: call_soon, done: out, failed: no}}]
out: [{say: bye}, hangup: callback]
no: [{say: sorry}, hangup: no]
"""
DEFLECT = """\
first:
  - answer
  - set: {topic: "'billing'"}
  - offer_sms: {queue: support, desk: texts, prompt: offer, accepted: text, declined: no, unreachable: never}
text:
  - sms.open: {desk: texts, text: hello, say: look, music: calm, carry: [topic, place_in_line], apology: sorry, failed: no}
  - hangup: deflected
no: [{say: bye}, hangup: no]
never: [hangup: never]
"""

CASES: dict[str, tuple[str, Steps]] = {
    "answer": ("first: [answer, hangup]", []),
    "say": (
        "first: [answer, {say: {prompt: welcome, barge_in: false}}, {say: bye}, {say: bye}, hangup]",
        [(1, out.Keys("5")), (2, out.PromptFinished(1)), (3, out.PromptFinished(1))],
    ),
    "play": ("first: [answer, {play: beep.wav}, hangup]", [(1, out.PromptFinished(1, False))]),
    "menu": (
        """\
        first:
          - answer
          - menu:
              prompt: menu
              keys: {"1": one, "*": first}
              no_input: {prompts: [again, again], goto: one}
              no_match: {prompts: [wrong], goto: one}
        one: [hangup]
        """,
        [
            (1, out.PromptFinished(1)), (6, WAKE), (7, out.Keys("7")), (8, out.Keys("*")), (9, out.Keys("31")),
            (10, out.Keys("9")), (11, out.PromptFinished(99)),
        ],
    ),
    "collect": (
        """\
        first:
          - answer
          - collect: {prompt: number, into: number, digits: 2-4, failed: out, empty: none}
          - collect: {prompt: number, into: again, digits: 2, failed: out}
          - hangup
        none: [hangup]
        out: [hangup]
        """,
        [
            (1, out.PromptFinished(1)), (2, out.Keys("12")), (4, WAKE), (5, out.Keys("3")), (7, WAKE), (8, out.Keys("4")),
            (9, out.Keys("56")),
        ],
    ),
    "choose": (
        """\
        first:
          - answer
          - choose:
              - {when: "known(ewt('nowhere').low) and ewt('nowhere').low > 1m", goto: short}
              - {when: "ewt('support').high > 6m and desk('texts').open_slots >= 1 and not consent('care')", goto: long}
              - {otherwise: short}
        long: [hangup: long]
        short: [hangup: short]
        """,
        [],
    ),
    "set": ("first: [answer, {set: {a: 2 * 3m + 1, b: \"a > 5m ? 'long' : 'short'\", c: caller.country}}, hangup]", []),
    "hours": (
        """\
        first: [answer, {hours: {closed: shut}}, {hours: {schedule: other, closed: shut, open: fine}}]
        shut: [hangup]
        fine: [hangup: fine]
        """,
        [],
    ),
    "goto": ("first: [answer, goto: then]\nthen: [hangup]", []),
    "language": (
        "first: [answer, {language: {prompt: pick, keys: {'1': en, '2': fr}, guess: [contact.language]}}, {say: bye}, hangup]",
        [(1, out.Keys("7")), (2, out.PromptFinished(2)), (7, WAKE), (8, out.PromptFinished(3))],
    ),
    "queue": (
        QUEUE.replace("TREATMENT", "{music: calm}, {announce: {after: 5s, every: 60s}}"),
        [
            (0, out.AgentEnded()), (5, WAKE), (9, out.PromptFinished(1)), (10, out.Keys("7")),
            (65, {"position": 1, "remaining": Ewt("ok", "learned", 1, 1, 20, 40, 50)}), (65, WAKE), (70, out.AgentAnswered()),
            (71, out.Keys("0")), (90, out.AgentEnded()), (95, out.PromptFinished(3)),
        ],
    ),
    "queue_limits": (
        QUEUE.replace("TREATMENT", "{music: calm}"),
        [(10, WAKE), (15, {"desks": {"support": Desk(False, 12.0)}}), (20, WAKE), (132, WAKE), (133, out.PromptFinished(1))],
    ),
    "queue_hung_up": (QUEUE.replace("TREATMENT", "{music: calm}"), [(61, out.CallEnded())]),
    "queue_promise": (
        QUEUE.replace("TREATMENT", "{announce: {after: 5s, every: 60s, what: [ewt]}}"),
        [
            (5, WAKE), (9, out.PromptFinished(1)), (60, {"remaining": Ewt("ok", "learned", 1, 1, 380, 420, 500)}), (65, WAKE),
            (125, {"remaining": Ewt("ok", "learned", 1, 1, 800, 900, 1000)}), (125, WAKE), (140, out.PromptFinished(2)),
            (185, {"remaining": Ewt("ok", "learned", 1, 1, 1800, 1900, 2000)}), (185, WAKE),
            (245, {"remaining": Ewt("ok", "prior", 1, 1, 60, 70, 80)}), (245, WAKE), (250, out.PromptFinished(3)), (305, WAKE),
        ],
    ),
    "queue_offer_accepted": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {HOLD_OFFER}"),
        [
            (20, WAKE), (20, out.OfferVerdict(1, False, "below_threshold")), (80, WAKE), (80, out.OfferVerdict(2, True)),
            (81, out.Keys("1")), (84, out.PromptFinished(2)), (85, out.TextDelivered(1)), (90, out.TextReceived("My bill")),
            (91, out.TextReceived("hello?")), (92, out.TextReceived("", 1)), (93, out.TextReceived("thanks")),
            (99, out.AgentAnswered()), (120, out.CallEnded()),
        ],
    ),
    "queue_offer_refused": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {HOLD_OFFER}"),
        [(20, WAKE), (20, out.OfferVerdict(1, True)), (25, out.PromptFinished(1)), (30, WAKE), (100, WAKE), (110, out.Keys("0"))],
    ),
    "queue_offer_failed": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {HOLD_OFFER}"),
        [
            (20, WAKE), (20, out.OfferVerdict(1, True)), (21, out.Keys("1")), (23, out.TextFailed(1, "landline")),
            (25, out.TextReceived("x")),
        ],
    ),
    "queue_bare": (
        "first: [answer, queue: {name: support}, hangup: met]",
        [(9, out.PromptFinished(1)), (10, out.AgentAnswered()), (60, out.AgentEnded())],
    ),
    "queue_bare_hung_up": ("first: [answer, queue: {name: support}, hangup: met]", [(9, out.CallEnded())]),
    "queue_waited_out": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {HOLD_OFFER}"),
        [(1799, WAKE), (1799, out.OfferVerdict(1, True)), (1800, WAKE)],
    ),
    "queue_unstaffed_since_unknown": (
        QUEUE.replace("TREATMENT", "{music: calm}"),
        [
            (0, {"desks": {}, "ewt": {"support": Ewt("no_agents")}}), (10, WAKE), (20, WAKE), (30, {"ewt": {}}), (30, WAKE),
            (40, {"desks": {"support": Desk(False)}}), (40, WAKE), (160, WAKE),
        ],
    ),
    "queue_lost_reports": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {{announce: {{after: 5s, what: [position]}}}}, {HOLD_OFFER}"),
        [(5, WAKE), (185, WAKE), (190, WAKE), (250, {"position": None}), (250, WAKE), (255, WAKE), (320, WAKE), (321, WAKE)],
    ),
    "queue_offer_when": (
        QUEUE.replace("TREATMENT", HOLD_OFFER.replace("kind: hold", "when: waited > 1m").replace("accepted: look, ", "")),
        [
            (20, WAKE), (80, WAKE), (80, out.OfferVerdict(1, True)), (81, out.Keys("1")), (82, out.TextReceived("Broken", 1)),
            (83, out.TextReceived("x")),
        ],
    ),
    "queue_offer_bare": (
        QUEUE.replace("TREATMENT", "{offer_sms: {prompt: offer, hello: hello, ask: [{into: why, text: ask_why}]}}"),
        [
            (20, WAKE), (20, out.OfferVerdict(1, True)), (21, out.PromptFinished(1)), (22, out.Keys("1")),
            (23, out.AgentAnswered()), (24, out.TextReceived("Late")), (25, out.TextFailed(1)), (26, out.AgentEnded()),
        ],
    ),
    "queue_offer_bare_failed": (
        QUEUE.replace("TREATMENT", "{offer_sms: {prompt: offer, hello: hello, ask: [{into: why, text: ask_why}]}}"),
        [
            (20, WAKE), (20, out.OfferVerdict(1, True)), (22, out.Keys("1")), (23, out.TextFailed(1)),
            (24, out.TextReceived("Late")),
        ],
    ),
    "queue_offer_bare_answered": (
        QUEUE.replace("TREATMENT", "{offer_sms: {prompt: offer, hello: hello, ask: [{into: why, text: ask_why}]}}"),
        [(20, WAKE), (20, out.OfferVerdict(1, True)), (22, out.Keys("1")), (23, out.TextReceived("Why not"))],
    ),
    "queue_offer_refused_by_key": (
        QUEUE.replace("TREATMENT", f"{{music: calm}}, {HOLD_OFFER}"),
        [(20, WAKE), (20, out.OfferVerdict(1, True)), (22, out.Keys("5")), (23, out.Keys("1"))],
    ),
    "queue_twice": (
        """\
        first:
          - answer
          - set: {topic: "''"}
          - queue: {name: support, treatment: [{music: calm}, OFFER], keys: {"8": again}, then: {hung_up: gone}}
          - hangup
        again: [{say: bye}, {queue: {name: other, treatment: [OFFER]}}, hangup]
        gone: [end]
        """.replace("OFFER", "offer_sms: {prompt: offer, hello: hello, ask: [{into: why, text: ask_why}]}"),
        [
            (20, WAKE), (20, out.OfferVerdict(1, True)), (21, out.PromptFinished(1)), (22, out.Keys("8")), (23, out.Keys("0")),
            (24, WAKE), (90, out.CallEnded()),
        ],
    ),
    "menu_not_to_be_cut": (
        """\
        first:
          - answer
          - menu: {prompt: menu, keys: {"1": one}, no_input: one, no_match: one, barge_in: false, first_key: 3s}
        one: [{say: {prompt: bye, barge_in: false}}, {say: bye}, hangup]
        """,
        [(1, out.Keys("1")), (2, out.PromptFinished(1)), (3, out.CallEnded()), (4, out.AgentAnswered())],
    ),
    "menu_prompt_lost": (
        "first: [answer, {menu: {prompt: menu, keys: {'1': one}, no_input: one, no_match: one}}]\none: [{say: bye}, hangup]",
        [(179, WAKE), (180, WAKE), (185, WAKE), (365, WAKE)],
    ),
    "collect_empty": (
        """\
        first: [answer, {collect: {prompt: number, into: number, digits: 2-4, failed: out, empty: none}}, hangup]
        none: [hangup: none]
        out: [hangup: out]
        """,
        [(1, out.Keys("#"))],
    ),
    "collect_own_ways": (
        """\
        first:
          - answer
          - collect:
              {prompt: number, into: number, digits: 2-4, next_key: 4s, no_input: {prompts: [again], goto: quiet}, no_match: odd}
          - hangup
        quiet: [hangup: quiet]
        odd: [hangup: odd]
        """,
        [(1, out.PromptFinished(1)), (6, WAKE), (7, out.PromptFinished(2)), (12, WAKE)],
    ),
    "hours_closed": (
        """\
        first: [answer, {hours: {schedule: a, closed: shut}}, hangup]
        shut: [{hours: {schedule: b, closed: late, holiday: free}}, hangup]
        free: [{hours: {schedule: b, closed: late}}, hangup]
        late: [hangup: late]
        """,
        [],
    ),
    "language_by_country": (
        "first: [answer, {language: {prompt: pick, keys: {'1': en, '2': fr}, guess: [caller.country]}}, hangup]",
        [(1, out.Keys("2"))],
    ),
    "language_not_guessed": (
        "first: [answer, {language: {prompt: pick, keys: {'1': en}, guess: [contact.language, caller.country]}}, hangup]",
        [(1, out.Keys("77"))],
    ),
    "sms.send_reported": (
        "first: [answer, {sms.send: thanks}, {say: bye}, {sms.send: thanks}, {say: bye}, hangup]",
        [
            (1, out.TextDelivered(1)), (2, out.TextFailed(1)), (3, {"opted_out": True}), (3, out.PromptFinished(1)),
            (4, out.CallEnded()),
        ],
    ),
    "offer_sms_no_verdict": (DEFLECT.replace(", unreachable: never", "").replace("never: [hangup: never]\n", ""), [(5, WAKE)]),
    "offer_sms_cannot": (
        DEFLECT.replace(", unreachable: never", "").replace("never: [hangup: never]\n", ""),
        [(0, out.Keys("1")), (1, out.OfferVerdict(1, False, "cannot_text"))],
    ),
    "offer_sms_once": (
        """\
        first: [answer, goto: ask]
        ask: [{offer_sms: {queue: support, desk: texts, prompt: offer, accepted: yes, declined: again}}]
        again: [{menu: {prompt: menu, keys: {"1": ask}, no_input: yes, no_match: yes}}]
        yes: [hangup]
        """,
        [(0, out.OfferVerdict(1, True)), (1, out.Keys("2")), (2, out.Keys("1"))],
    ),
    "sms.open_slow_prompt": (
        DEFLECT.replace("  - hangup: deflected", "  - say: bye\n  - hangup: deflected"),
        [(0, out.OfferVerdict(1, True)), (3, out.Keys("1")), (5, out.TextDelivered(1)), (6, out.TextFailed(1)), (28, WAKE)],
    ),
    "sms.open_hung_up_after_delivery": (
        DEFLECT.replace("  - hangup: deflected", "  - say: bye\n  - hangup: deflected"),
        [(0, out.OfferVerdict(1, True)), (3, out.Keys("1")), (5, out.TextReceived("Hi")), (6, out.CallEnded())],
    ),
    "offer_sms": (DEFLECT, [(0, out.OfferVerdict(1, True)), (3, out.PromptFinished(1)), (8, WAKE), (9, out.PromptFinished(2))]),
    "offer_sms_never": (DEFLECT, [(0, out.OfferVerdict(1, False, "cannot_text"))]),
    "sms.open": (
        DEFLECT,
        [
            (0, out.OfferVerdict(1, True)), (3, out.Keys("1")), (5, out.TextDelivered(1)), (6, out.Keys("9")),
            (7, out.PromptFinished(2)),
        ],
    ),
    "sms.open_failed": (
        DEFLECT,
        [(0, out.OfferVerdict(1, True)), (3, out.Keys("1")), (7, out.PromptFinished(2)), (28, WAKE), (30, out.PromptFinished(3))],
    ),
    "sms.open_hung_up": (DEFLECT, [(0, out.OfferVerdict(1, True)), (3, out.Keys("1")), (5, out.CallEnded())]),
    "callback": (
        CALLED_BACK,
        [
            (10, WAKE), (10, out.OfferVerdict(1, True)), (12, out.PromptFinished(1)), (40, WAKE), (44, out.PromptFinished(2)),
            (45, out.Keys("2")),
            (46, out.Keys("1")), (50, out.PromptFinished(4)), (51, out.CallEnded()),
        ],
    ),
    "callback_not_worth_it": (
        CALLED_BACK,
        [
            (10, WAKE), (11, out.OfferVerdict(1, False, "below_threshold")), (70, WAKE), (75, WAKE), (130, WAKE),
            (131, out.Keys("2")), (132, out.Keys("1")),
        ],
    ),
    "callback_elsewhere": (
        CALLED_BACK,
        [
            (5, out.Keys("2")), (6, out.Keys("2")), (8, out.Keys("12#")), (9, out.PromptFinished(2)),
            (10, out.Keys("5550108888#")), (12, out.PromptFinished(3)), (15, out.PromptFinished(4)),
        ],
    ),
    "callback_rather_not": (
        CALLED_BACK, [(5, out.Keys("2")), (6, out.Keys("3")), (9, {"to_call": lambda _: None}), (20, out.Keys("2")), (71, WAKE)],
    ),
    "callback_hung_up": (CALLED_BACK, [(5, out.Keys("2")), (6, out.CallEnded())]),
    "callback_later": (LATER, [(3, out.PromptFinished(1)), (5, out.PromptFinished(2))]),
    "callback_never": (LATER.replace("hours: a", "hours: b"), []),
    "sms.send": (
        "first: [answer, {set: {topic: \"'news'\"}}, {sms.send: hello}, {sms.send: {text: hello, if: consent('care')}}, hangup]",
        [],
    ),
    "hangup": ("first: [answer, {hangup: done}, {sms.send: thanks}]", [(1, out.CallEnded())]),
    "end": ("first: [answer, end: over]", []),
}  # fmt: skip


def play(name: str, tmp_path: Path) -> list[dict[str, Any]]:
    """Everything that came of a case, through JSON between any two resumes."""
    states, steps = CASES[name]
    path = tmp_path / "golden.yaml"
    path.write_text(HEAD + textwrap.indent(textwrap.dedent(states), "  "))
    flow = load_flow(path, prompts=HERE / "prompts")
    facts = FACTS
    run, outputs = FlowRun.start(flow, facts, now=0.0)
    log: list[dict[str, Any]] = [_entry("start", 0.0, outputs, run)]
    for now, step in steps:
        run = FlowRun.restore(flow, json.loads(json.dumps(run.snapshot())))
        if isinstance(step, dict):
            facts = msgspec.structs.replace(facts, **step)
            continue
        if isinstance(step, str):
            log.append(_entry(step, now, run.wake(facts, now=now), run))
            continue
        before = run.snapshot()
        try:
            log.append(_entry(msgspec.to_builtins(step), now, run.resume(step, facts, now=now), run))
        except ResumeRefused as refused:
            assert run.snapshot() == before
            log.append(_entry(msgspec.to_builtins(step), now, [], run) | {"refused": str(refused)})
    return log


def _entry(what: Any, now: float, outputs: list[out.Output], run: FlowRun) -> dict[str, Any]:
    wait = type(run.wait).__name__ if run.wait else None
    written = msgspec.json.encode(outputs)
    assert msgspec.json.decode(written, type=list[out.AnyOutput]) == outputs
    return {"at": now, "told": what, "said": json.loads(written), "wait": wait, "wake_at": run.wake_at}


@pytest.mark.parametrize("name", CASES)
def test_a_scripted_caller_gets_exactly_what_the_golden_log_says(name: str, tmp_path: Path) -> None:
    """Whatever changes in what a run says shows as a difference here."""
    log = play(name, tmp_path)
    golden = HERE / "golden" / f"{name}.json"
    if os.environ.get("SIDETONE_GOLDEN") == "write":
        golden.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n")
    assert log == json.loads(golden.read_text())


def test_every_kind_of_action_has_a_golden_log() -> None:
    """A new action without one is not finished."""
    assert set(ACTIONS) <= set(CASES)
    used = "".join(states for states, _ in CASES.values())
    assert all(f"{kind}:" in used for kind in TREATMENTS)
    assert {path.stem for path in (HERE / "golden").glob("*.json")} == set(CASES)
