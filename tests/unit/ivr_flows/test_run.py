"""The run: a refusal changes nothing, keys and agents come first, the place is kept, promises are not raised silently."""

import json
import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivr_flows import outputs as out
from ivr_flows.facts import Desk, Ewt, Facts, Hours
from ivr_flows.holding import band
from ivr_flows.loader import FLOWS, load_flow
from ivr_flows.model import LARGEST, Goto
from ivr_flows.run import STEPS, FlowRun, OtherRevision, ResumeRefused

FLOW = load_flow(FLOWS / "support.yaml")
FACTS = Facts(
    called="+15550100200",
    caller="+15550109999",
    can_text=True,
    brand="Example",
    desks={"support": Desk(True), "support_sms": Desk(True, open_slots=2)},
    hours={"support_hours": Hours("open")},
    position=4,
    remaining=Ewt("ok", "learned", 250, 60, 200, 330, 500),
)


class Caller:
    """A run with a clock, through JSON between any two resumes."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.facts = facts
        self.now = 0.0
        run, self.said = FlowRun.start(FLOW, facts, now=0.0)
        self.snapshot: dict[str, Any] = run.snapshot()

    @property
    def run(self) -> FlowRun:
        return FlowRun.restore(FLOW, json.loads(json.dumps(self.snapshot)))

    def tell(self, resume: out.AnyResume) -> list[out.Output]:
        run = self.run
        said = run.resume(resume, self.facts, now=self.now)
        self.snapshot = run.snapshot()
        self.said += said
        return said

    def wake(self) -> list[out.Output]:
        run = self.run
        assert run.wake_at is not None
        self.now = max(self.now, run.wake_at)
        said = run.wake(self.facts, now=self.now)
        self.snapshot = run.snapshot()
        self.said += said
        return said

    def in_line(self) -> "Caller":
        """Up to the queue: technical help, no deflection."""
        self.tell(out.Keys("1"))
        self.tell(out.Keys("2"))
        self.tell(out.OfferVerdict(1, False, "below_threshold"))
        assert any(isinstance(each, out.JoinQueue) for each in self.said)
        return self

    def until(self, kind: type[out.Output], finish: bool = True) -> out.Output:
        """Let the clock run until something of *kind* is said."""
        for _ in range(500):
            for said in self.wake():
                if isinstance(said, kind):
                    return said
                if isinstance(said, out.Play) and finish:
                    self.tell(out.PromptFinished(said.play))
        raise AssertionError(f"no {kind.__name__}")


_SMALL = st.integers(0, 6)
_RESUMES: st.SearchStrategy[out.AnyResume] = st.one_of(
    st.builds(out.PromptFinished, _SMALL, st.booleans()),
    st.builds(out.Keys, st.text("0123456789*#AB", max_size=3)),
    st.builds(out.OfferVerdict, _SMALL, st.booleans(), st.sampled_from(["", "cannot_text"])),
    st.builds(out.TextDelivered, _SMALL),
    st.builds(out.TextFailed, _SMALL),
    st.builds(out.TextReceived, st.sampled_from(["my bill", "skip", ""]), st.integers(0, 2)),
    st.sampled_from([out.AgentAnswered(), out.AgentEnded(), out.CallEnded()]),
)
_WORLDS = st.builds(
    Facts,
    called=st.just("+15550100200"),
    caller=st.sampled_from([None, "+15550109999"]),
    can_text=st.booleans(),
    hours=st.sampled_from([{}, {"support_hours": Hours("open")}]),
    desks=st.sampled_from([{}, {"support": Desk(False, 3.0)}, {"support": Desk(True)}]),
    position=st.sampled_from([None, 1, 3, 99]),
    remaining=st.sampled_from([None, Ewt("no_agents"), Ewt("ok", "learned", 1, 1, 90, 150, 200)]),
    opted_out=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.none() | _RESUMES, _WORLDS), max_size=40))
def test_in_any_order_of_events_a_refusal_changes_nothing_and_the_run_survives_json(
    steps: list[tuple[float, out.AnyResume | None, Facts]],
) -> None:
    """Whatever happens, in whatever world, with the clock at whatever time."""
    run, said = FlowRun.start(FLOW, FACTS, now=0.0)
    now = 0.0
    for seconds, resume, facts in steps:
        now += seconds
        before = run.snapshot()
        if resume is None:
            said = run.wake(facts, now=now)
        else:
            try:
                said = run.resume(resume, facts, now=now)
            except ResumeRefused:
                assert run.snapshot() == before
                continue
        again = FlowRun.restore(FLOW, json.loads(json.dumps(run.snapshot())))
        assert again.snapshot() == run.snapshot()
        assert msgspec.json.decode(msgspec.json.encode(said), type=list[out.AnyOutput]) == said
        assert (run.wait is None) is any(isinstance(each, out.Ended) for each in said) or run.wait is None
        run = again
        if run.wait is None:
            assert run.wake_at is None
            with pytest.raises(ResumeRefused):
                run.resume(out.CallEnded(), facts, now=now)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.none() | _RESUMES), max_size=60))
def test_the_hold_offer_is_made_at_most_once_and_consent_needs_its_key(steps: list[tuple[float, out.AnyResume | None]]) -> None:
    """However the caller behaves in line."""
    caller = Caller().in_line()
    for seconds, resume in steps:
        caller.now += seconds
        if caller.run.wait is None:
            break
        try:
            caller.tell(resume) if resume else caller.run.wake_at is not None and caller.wake()
        except ResumeRefused:
            continue
    made = [each for each in caller.said if isinstance(each, out.OfferMade) and each.kind == "hold"]
    agreed = [each for each in caller.said if isinstance(each, out.ConsentGiven)]
    texts = [each for each in caller.said if isinstance(each, out.SendText) and each.kind == "hold"]
    assert len(made) <= 1
    assert len(agreed) <= len(made)
    assert all(each.digit == "1" for each in agreed)
    assert not texts or agreed


@pytest.mark.parametrize("doing", ["music", "announcement", "asking the policy", "offer", "listening", "text question"])
def test_an_agent_who_answers_cuts_everything(doing: str) -> None:
    """After the answer nothing is played or asked, whatever was going on."""
    caller = Caller().in_line()
    if doing == "announcement":
        caller.until(out.Play, finish=False)
    elif doing != "music":
        ask = caller.until(out.AskOffer)
        assert isinstance(ask, out.AskOffer)
        if doing != "asking the policy":
            play = caller.tell(out.OfferVerdict(ask.request, True))[-1]
            assert isinstance(play, out.Play)
            if doing == "listening":
                caller.tell(out.PromptFinished(play.play))
            if doing == "text question":
                caller.tell(out.Keys("1"))
    said = caller.tell(out.AgentAnswered())
    assert not [each for each in said if not isinstance(each, out.OfferAnswered)]
    assert caller.run.wake_at is None
    assert caller.run.asking is (doing == "text question")
    if doing == "text question":
        assert caller.tell(out.TextReceived("my bill")) == [out.AnswerStored("reason", "my bill", 0)]
    with pytest.raises(ResumeRefused):
        caller.tell(out.TextReceived("more"))


def test_keys_work_during_announcements() -> None:
    """A key pressed while something is said leaves the queue as the flow says."""
    caller = Caller().in_line()
    caller.until(out.Play, finish=False)
    said = caller.tell(out.Keys("#"))
    assert out.LeaveQueue("key") in said
    assert any(isinstance(each, out.Play) and each.prompts[0].key == "goodbye" for each in said)


def test_the_place_in_line_is_that_of_the_first_offer() -> None:
    """A failed text does not cost the place."""
    caller = Caller()
    caller.tell(out.Keys("1"))
    caller.now = 10.0
    caller.tell(out.Keys("2"))
    caller.tell(out.OfferVerdict(1, True))
    caller.now = 20.0
    text = next(each for each in caller.tell(out.Keys("1")) if isinstance(each, out.OpenText))
    assert text.since == 10.0
    caller.now = 22.0
    apology = caller.tell(out.TextFailed(text.ref, "landline"))[-1]
    assert isinstance(apology, out.Play)
    caller.now = 27.0
    joined = next(each for each in caller.tell(out.PromptFinished(apology.play)) if isinstance(each, out.JoinQueue))
    assert joined.since == 10.0
    assert caller.run.place_since == 10.0


def test_the_deflected_call_ends_only_when_the_text_is_delivered() -> None:
    """No hang-up before; the sentence is finished; then the call ends."""
    caller = Caller()
    caller.tell(out.Keys("1"))
    caller.tell(out.Keys("2"))
    caller.tell(out.OfferVerdict(1, True))
    said = caller.tell(out.Keys("1"))
    look = next(each for each in said if isinstance(each, out.Play))
    caller.tell(out.PromptFinished(look.play))
    assert not any(isinstance(each, out.HangUp) for each in caller.said)
    arrived = caller.tell(out.TextDelivered(1))[-1]
    assert isinstance(arrived, out.Play)
    caller.tell(out.PromptFinished(arrived.play))
    assert caller.said[-2:] == [out.HangUp("deflected"), out.Ended("deflected")]


def test_a_reply_proves_that_the_text_was_delivered() -> None:
    """Delivery reports come late or never; a reply cannot come before the text."""
    caller = Caller()
    for resume in (out.Keys("1"), out.Keys("2"), out.OfferVerdict(1, True), out.Keys("1")):
        caller.tell(resume)
    caller.tell(out.TextReceived("hello"))
    assert getattr(caller.run.wait, "delivered", False)


def test_nobody_agrees_to_something_before_it_was_said() -> None:
    """Keys typed ahead do not answer an offer."""
    caller = Caller()
    caller.tell(out.Keys("1211"))
    caller.tell(out.OfferVerdict(1, True))
    assert not any(isinstance(each, out.ConsentGiven) for each in caller.said)
    assert any(isinstance(each, out.OfferMade) for each in caller.said)


def test_a_prompt_that_never_ends_does_not_hold_the_caller_for_ever() -> None:
    """A lost report is made good by the clock."""
    caller = Caller()
    caller.wake()
    assert any(isinstance(each, out.Play) and each.prompts[0].key == "pick_language" for each in caller.said)


def test_waking_too_early_does_nothing() -> None:
    """Nothing is said and nothing changes."""
    caller = Caller()
    run = caller.run
    assert run.wake(FACTS, now=1.0) == []
    assert run.snapshot() == caller.run.snapshot()


def test_a_run_is_pinned_to_its_revision() -> None:
    """Another revision does not take it over."""
    caller = Caller()
    other = msgspec.structs.replace(FLOW, revision="0" * 16)
    with pytest.raises(OtherRevision):
        FlowRun.restore(other, caller.run.snapshot())


def test_a_flow_that_goes_round_in_circles_is_ended() -> None:
    """Lint finds such a flow; should one come through, the call does not hang."""
    states = {"a": (Goto(state="a"),)}
    run, said = FlowRun.start(msgspec.structs.replace(FLOW, states=states, start="a"), FACTS, now=0.0)
    assert run.wait is None
    assert said[-1] == out.Ended("too_many_steps")
    assert len(said) < 4 * STEPS


def test_what_the_caller_was_told_is_readable_from_outside() -> None:
    """Language, variables and the way through the menus."""
    caller = Caller().in_line()
    assert (caller.run.language, dict(caller.run.variables), caller.run.menu_path) == (
        "en",
        {"topic": "technical"},
        ("technical",),
    )


# --- the spoken wait ------------------------------------------------------------------------------------------------------

_WAITS = st.floats(0, 4 * 3600)


@given(_WAITS, _WAITS, _WAITS)
def test_a_spoken_wait_is_never_shorter_than_the_median(first: float, second: float, third: float) -> None:
    """Rounded up, low before high, and only numbers that have a recording."""
    p50, p75, p90 = sorted((first, second, third))
    minutes = band(Ewt("ok", "learned", None, None, p50, p75, p90))
    if minutes is not None and minutes != (0, 0):
        low, high = minutes
        assert p50 <= low * 60
        assert p75 <= high * 60
        assert 1 <= low <= high <= LARGEST
    elif minutes is not None:
        assert p75 < 60


@pytest.mark.parametrize(
    ("ewt", "minutes"),
    [
        (None, None),
        (Ewt("no_agents", "learned", 1, 1, 100, 200, 250), None),
        (Ewt("degraded", "learned", 1, 1, 100, 200, 250), None),
        (Ewt("ok", "prior", 1, 1, 100, 200, 250), None),
        (Ewt("ok", "learned", 1, 1, 100, 200, 301), None),
        (Ewt("ok", "learned", 1, 1, None, 200, 301), None),
        (Ewt("ok", "plan", 1, 1, 100, 200, 300), (2, 4)),
        (Ewt("ok", "learned", 1, 1, 10, 40, 59), (0, 0)),
        (Ewt("free_agent", "learned", 0, 0, 0, 0, 0), (0, 0)),
        (Ewt("ok", "learned", 1, 1, 3500, 3700, 4000), None),
    ],
)
def test_no_number_is_spoken_that_would_not_be_honest(ewt: Ewt | None, minutes: tuple[int, int] | None) -> None:
    """Nothing learnt, nobody there, out of step, too wide a spread, too long to be recorded."""
    assert band(ewt) == minutes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(30, 3000), min_size=2, max_size=12))
def test_a_promise_is_never_raised_without_an_apology_and_only_once(medians: list[float]) -> None:
    """The end of the wait as told only comes nearer, but for one apology."""
    caller = Caller().in_line()
    promised: float | None = None
    apologies = 0
    for median in medians:
        caller.facts = msgspec.structs.replace(
            FACTS, remaining=Ewt("ok", "learned", None, None, median, median, median), position=None
        )
        before = len(caller.said)
        caller.now += 61
        for said in caller.wake():
            if isinstance(said, out.AskOffer):
                caller.tell(out.OfferVerdict(said.request, False, "below_threshold"))
        new = caller.said[before:]
        play = next((each for each in new if isinstance(each, out.Play)), None)
        told = next((each for each in new if isinstance(each, out.EwtTold)), None)
        if play is not None:
            caller.tell(out.PromptFinished(play.play))
        if told is None or told.high_minutes is None:
            continue
        end = caller.now + 60 * max(told.high_minutes, 1)
        apologised = play is not None and any(prompt.key == "ewt_longer_than_told" for prompt in play.prompts)
        apologies += apologised
        if promised is not None and not apologised:
            assert end <= promised + 60  # rounding to whole minutes
        promised = end if promised is None or apologised else min(promised, end)
    assert apologies <= 1


def announced(remaining: Ewt, *, shrinks: bool = False) -> list[tuple[float, int | None]]:
    """When a wait is told, and what, to one who stands in line for half an hour."""
    caller = Caller().in_line()
    caller.facts = msgspec.structs.replace(FACTS, remaining=remaining)
    told: list[tuple[float, int | None]] = []
    while caller.now < 1700 and caller.run.wake_at is not None:
        if shrinks:
            left = 1800 - caller.now
            remaining = Ewt("ok", "learned", None, None, left, left, left)
            caller.facts = msgspec.structs.replace(caller.facts, remaining=remaining)
        for said in caller.wake():
            if isinstance(said, out.Play):
                caller.tell(out.PromptFinished(said.play))
            elif isinstance(said, out.AskOffer):
                caller.tell(out.OfferVerdict(said.request, False))
            elif isinstance(said, out.EwtTold):
                told.append((caller.now, said.high_minutes))
    return told


def test_a_wait_is_told_every_ninety_seconds_at_most() -> None:
    """However often the place is: each time some callers hang up."""
    told = announced(Ewt("ok", "learned"), shrinks=True)
    assert len(told) > 5
    assert all(minutes == math.ceil((1800 - at) / 60) for at, minutes in told)
    assert all(after - before >= 90.0 for (before, _), (after, _) in pairwise(told))


def test_of_a_short_wait_that_is_only_uncertain_nothing_is_said() -> None:
    """It would not be true that it takes longer than usual."""
    assert announced(Ewt("ok", "learned", None, None, 20, 65, 200)) == []
    assert announced(Ewt("ok", "prior", None, None, 20, 30, 50)) == []
    assert [minutes for _, minutes in announced(Ewt("ok", "learned", None, None, 61, 100, 200))] == [None]


def test_longer_than_usual_is_said_once() -> None:
    """Hearing it every minute helps nobody."""
    caller = Caller().in_line()
    caller.facts = msgspec.structs.replace(FACTS, remaining=Ewt("ok", "prior"), position=None)
    for _ in range(30):
        for said in caller.wake():
            if isinstance(said, out.Play):
                caller.tell(out.PromptFinished(said.play))
            if isinstance(said, out.AskOffer):
                caller.tell(out.OfferVerdict(said.request, False))
    assert sum(isinstance(each, out.EwtTold) for each in caller.said) == 1


@pytest.mark.parametrize(("reason", "again"), [("cannot_text", False), ("disabled", False), ("below_threshold", True)])
def test_the_policy_is_not_asked_again_and_again_about_what_will_not_change(reason: str, again: bool) -> None:
    """A landline stays one however long its owner waits; a wait that is too short now may not be so in a minute."""
    caller = Caller().in_line()
    asked = caller.until(out.AskOffer)
    assert isinstance(asked, out.AskOffer)
    before = len([said for said in caller.said if isinstance(said, out.AskOffer)])
    caller.tell(out.OfferVerdict(asked.request, False, reason))
    for _ in range(20):
        for said in caller.wake():
            if isinstance(said, out.Play):
                caller.tell(out.PromptFinished(said.play))
            elif isinstance(said, out.AskOffer):
                caller.tell(out.OfferVerdict(said.request, False, reason))
    asks = len([said for said in caller.said if isinstance(said, out.AskOffer)])
    assert (asks > before) is again
