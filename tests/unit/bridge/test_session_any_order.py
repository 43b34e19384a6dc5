"""Whatever happens, in whatever order: refused with nothing changed, or taken along the tables."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import events as e
from bridge.legs import CALL, TEXT, CallState, TextLeg
from bridge.session import ChatRules, Suspicion, UnexpectedEvent
from sms.menu import Menu
from tests.unit.bridge.story import ANN, BEN, CALLER, LEG, RULES, START, Arrow, Story, flow_of, support, text_menu

WAKE = "wake"
ELSEWHERE = "+15550100199"
OUTSIDE = "+15550100177"
NAMES = (
    "arrive", "press 1", "press 2", "press 9", "press #", "heard", "cut", "verdict yes", "verdict no", "offered voice",
    "lapsed voice", "accepted voice", "answered", "stale answered", "failed", "audio", "agent leg ended", "agent hung up",
    "call ended", "text", "photo", "stop", "start", "help", "stop answered", "accepted text", "rejected", "opted out there",
    "delivered", "undelivered", "old delivered", "ann says", "ben says", "offered sms", "lapsed sms", "accepted sms",
    "accepted sms by ben", "chat ended", "called off",
    "lost", "ben lost", "note", "stopped elsewhere", "started elsewhere", "cut off",
    "restart", WAKE, "exit", "back", "first", "odd words", "from elsewhere", "leave me alone", "meant", "not meant",
    "stop from elsewhere", "start from elsewhere", "leave me alone from elsewhere", "known to us", "canceled",
    "nothing uploaded", "ben declines", "ann declines", "api says", "api says later", "ann opens", "to ben", "to the queue",
    "ben lets it ring", "dismiss", "ask photos", "uploaded", "offered voice ben", "lapsed voice ben", "accepted voice ben",
    "hold", "resume", "phone holds", "phone resumes", "ask ben", "ask outside", "asked answered", "asked failed", "asked ended",
    "agent dropped", "swap", "take back", "complete", "call to ben", "call to queue", "call outside", "call customer",
    "customer answered", "not picked up", "program wants callback", "program wants callback later", "callback now",
    "callback off", "no callback please", "redirected", "redirected back", "chat redirected",
)  # fmt: skip
"""Everything that can be tried."""


def event(name: str, story: Story) -> e.AnyEvent:
    """What *name* means in this story now."""
    state = story.state
    agent_leg = state.agent_leg or e.LegId("nobody")
    asked_leg = e.LegId("nobody") if state.consult is None else state.consult.leg
    leg = state.leg or LEG
    plays = story.all(e.PlayPrompts)
    play = plays[-1].play if plays else 1
    asked = story.all(e.DecideOffer)
    request = asked[-1].request if asked else 1
    sent = [text.message for text in story.all(e.SendText)]
    first, last = (sent[0], sent[-1]) if sent else (e.MessageId("none"), e.MessageId("none"))
    kind: e.OfferKind = asked[-1].kind if asked else "hold"
    events: dict[str, e.AnyEvent] = {
        "arrive": e.CallArrived(LEG, "loopback", state.customer, state.our_number),
        "press 1": e.DigitsReceived(leg, "1"),
        "press 2": e.DigitsReceived(leg, "2"),
        "press 9": e.DigitsReceived(leg, "9"),
        "press #": e.DigitsReceived(leg, "#"),
        "heard": e.PromptFinished(leg, play, completed=True, heard=2.0),
        "cut": e.PromptFinished(leg, play, completed=False, heard=0.5),
        "verdict yes": e.OfferDecided(request, kind, True, "offer", {}),
        "verdict no": e.OfferDecided(request, kind, False, "below_threshold", {}),
        "offered voice": e.AgentOffered(ANN, "voice"),
        "lapsed voice": e.OfferLapsed(ANN, "voice", "ring_timeout"),
        "accepted voice": e.AgentAccepted(ANN, "Ann", "voice", "sip:ann@127.0.0.1"),
        "answered": e.AgentLegAnswered(leg, agent_leg),
        "stale answered": e.AgentLegAnswered(leg, e.LegId("leg/agent0")),
        "failed": e.AgentLegFailed(leg, agent_leg, 486, "Busy Here"),
        "audio": e.AudioConnected(leg, agent_leg),
        "agent leg ended": e.AgentLegEnded(leg, agent_leg, "agent"),
        "agent hung up": e.AgentHungUp(ANN),
        "call ended": e.CallEnded(leg, "caller", "bye"),
        "text": story.arrival("hello"),
        "photo": story.arrival("", photos=1),
        "stop": story.arrival("STOP", keyword="stop"),
        "start": story.arrival("START", keyword="start"),
        "help": story.arrival("HELP", keyword="help"),
        "stop answered": story.arrival("STOP", keyword="stop", provider_answers=True),
        "accepted text": e.TextAccepted(last, e.ProviderRef("x"), 1),
        "rejected": e.TextRejected(last, "bad_address", "21211", "no such number"),
        "opted out there": e.TextRejected(last, "opted_out", "21610", "opted out"),
        "delivered": e.TextReported(last, "delivered"),
        "undelivered": e.TextReported(last, "undelivered", "30003"),
        "old delivered": e.TextReported(first, "delivered"),
        "ann says": e.AgentSaid(ANN, "Good morning"),
        "ben says": e.AgentSaid(BEN, "Good evening"),
        "offered sms": e.AgentOffered(ANN, "sms"),
        "lapsed sms": e.OfferLapsed(ANN, "sms", "declined"),
        "accepted sms": e.AgentAccepted(ANN, "Ann", "sms"),
        "accepted sms by ben": e.AgentAccepted(BEN, "Ben", "sms"),
        "chat ended": e.AgentEndedChat(ANN),
        "called off": e.ChatCalledOff("Sue"),
        "lost": e.AgentLost(ANN),
        "ben lost": e.AgentLost(BEN),
        "note": e.WrapUpNoted(ANN, "done", "Solved"),
        "stopped elsewhere": e.OptOutChanged(True),
        "started elsewhere": e.OptOutChanged(False),
        "cut off": e.CallEnded(leg, "platform", "restart"),
        "restart": e.ProcessRestarted(),
        "exit": story.arrival("exit"),
        "back": story.arrival("back"),
        "first": story.arrival("1"),
        "odd words": story.arrival("what do you mean"),
        "from elsewhere": story.arrival("BCDF it is me", sender=ELSEWHERE),
        "leave me alone": story.arrival("please stop texting me", suspicious=True),
        "stop from elsewhere": story.arrival("STOP", keyword="stop", sender=ELSEWHERE),
        "start from elsewhere": story.arrival("START", keyword="start", sender=ELSEWHERE),
        "leave me alone from elsewhere": story.arrival("leave me alone", suspicious=True, sender=ELSEWHERE),
        "known to us": e.TextRejected(last, "opted_out", "suppressed", "the number opted out"),
        "canceled": e.TextReported(last, "canceled", "canceled"),
        "nothing uploaded": e.MediaUploaded("token", (), 2),
        "ben declines": e.OfferLapsed(BEN, "sms", "declined"),
        "ann declines": e.OfferLapsed(ANN, "sms", "declined"),
        "meant": e.OptOutJudged(ANN, meant=True),
        "not meant": e.OptOutJudged(ANN, meant=False),
        "api says": e.ApiSaid(e.MessageId(f"api-{len(sent)}"), "api:shop", "Your parcel is here"),
        "api says later": e.ApiSaid(e.MessageId(f"api-{len(sent)}"), "api:shop", "Tomorrow", agent=BEN, due_at=story.now + 60.0),
        "ann opens": e.AgentOpened(ANN, "Ann", e.QueueId("support_sms"), "Good morning"),
        "to ben": e.AgentTransferred(ANN, e.QueueId("other_sms"), BEN, "Ben", "for you"),
        "to the queue": e.AgentTransferred(ANN, e.QueueId("other_sms")),
        "ben lets it ring": e.OfferLapsed(BEN, "sms", "ring_timeout"),
        "dismiss": e.AgentDismissed(ANN),
        "ask photos": e.UploadAsked(ANN, "https://example.com/u/1", "token", story.now + 600.0),
        "offered voice ben": e.AgentOffered(BEN, "voice"),
        "lapsed voice ben": e.OfferLapsed(BEN, "voice", "declined"),
        "accepted voice ben": e.AgentAccepted(BEN, "Ben", "voice", "sip:ben@127.0.0.1"),
        "hold": e.AgentHeld(ANN),
        "resume": e.AgentResumed(ANN),
        "phone holds": e.PhoneHeld(leg, agent_leg),
        "phone resumes": e.PhoneResumed(leg, agent_leg),
        "ask ben": e.AgentConsulted(ANN, "Ben", "sip:ben@127.0.0.1", BEN, e.QueueId("billing"), "an old friend"),
        "ask outside": e.AgentConsulted(ANN, OUTSIDE, f"tel:{OUTSIDE}"),
        "asked answered": e.AgentLegAnswered(leg, asked_leg),
        "asked failed": e.AgentLegFailed(leg, asked_leg, 486, "Busy Here"),
        "asked ended": e.AgentLegEnded(leg, asked_leg, "agent"),
        "agent dropped": e.AgentLegEnded(leg, agent_leg, "platform"),
        "swap": e.AgentSwapped(ANN),
        "take back": e.AgentTookBack(ANN),
        "complete": e.AgentCompleted(ANN),
        "call to ben": e.CallTransferred(ANN, e.QueueId("billing"), BEN, "Ben", note="for you"),
        "call to queue": e.CallTransferred(ANN, e.QueueId("billing")),
        "call outside": e.CallTransferred(ANN, number=OUTSIDE),
        "call customer": e.AgentCalled(ANN, "Ann", e.QueueId("support"), "sip:ann@127.0.0.1"),
        "customer answered": e.CustomerAnswered(leg),
        "not picked up": e.CallEnded(leg, "network", "486"),
        "program wants callback": e.CallbackAsked("api:shop", e.QueueId("support")),
        "program wants callback later": e.CallbackAsked("api:shop", e.QueueId("support"), story.now + 600.0, "the bill"),
        "callback now": e.CallbackStarted(ANN, "Ann", "sip:ann@127.0.0.1"),
        "callback off": e.CallbackCancelled("Ann"),
        "no callback please": story.arrival("Cancel"),
        "redirected": e.QueueRedirected("voice", e.QueueId("support"), e.QueueId("billing")),
        "redirected back": e.QueueRedirected("voice", e.QueueId("billing"), e.QueueId("support")),
        "chat redirected": e.QueueRedirected("sms", e.QueueId("support_sms"), e.QueueId("other_sms")),
        "uploaded": e.MediaUploaded("token", (e.Media("0" * 64, "image/jpeg", 1000),)),
    }
    return events[name]


def attempt(story: Story, name: str) -> e.AnyEvent | None:
    """Try it; returns the event if it was taken. A refusal changes nothing (`Story.check` looks at the rest)."""
    if name == WAKE:
        if story.session.wake_at is not None:
            story.wait(max(0.0, story.session.wake_at - story.now))
        return None
    what, before = event(name, story), story.saved()
    try:
        story.tell(what)
    except UnexpectedEvent:
        assert story.saved() == before
        return None
    return what


PREFIXES: tuple[tuple[str, ...], ...] = (
    (),
    ("arrive",),
    ("arrive", "press 1", "press 2", "verdict yes", "press 1"),
    ("arrive", "press 1", "press 2", "verdict yes", "press 1", "heard", "undelivered", "heard"),
    ("arrive", "press 1", "press 2", "verdict no"),
    ("arrive", "press 1", "press 2", "verdict no", WAKE, "heard", WAKE, "verdict yes", "press 1"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "ann says"),
    ("text", "accepted sms"),
    ("text", "first", "first", "accepted sms", "ann says"),
    ("api says", "text", "accepted sms", "ann says", "to ben"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "ask ben", "asked answered"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "ask outside", "asked answered", "complete"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "call outside"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "call to ben"),
    ("arrive", "press 1", "press 2", "verdict no", "accepted voice", "answered", "hold"),
    ("call customer", "answered"),
    ("program wants callback", "accepted voice", "answered"),
    ("program wants callback later", "arrive"),
)
"""Where the random part of a story begins, so that it gets far."""


SUSPICION = Suspicion(CALLER, "message old", "leave me alone", START - 100.0)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(PREFIXES),
    st.lists(st.sampled_from(NAMES), max_size=25),
    st.sampled_from(["+15550100123", None]),
    st.sampled_from(["support_sms", None]),
    st.sampled_from([(None, None), (None, RULES), (text_menu(), RULES)]),
    st.sampled_from([{}, {"service": "direct", "direct": ANN}, {"suspected": SUSPICION}, {"introduced": True}]),
)
def test_in_any_order_a_refusal_changes_nothing_and_the_rest_follows_the_tables(
    prefix: tuple[str, ...],
    names: list[str],
    customer: str | None,
    desk: str | None,
    texting: tuple[Menu | None, ChatRules | None],
    first: dict[str, Any],
) -> None:
    """Any events: no crash, no text to one who opted out, lines and agents balanced, nothing done to an ended leg."""
    story = Story(flow=support(), customer=customer, desk=desk, menu=texting[0], rules=texting[1], **first)
    for name in (*prefix, *names):
        if customer is None and name != WAKE and isinstance(event(name, story), e.TextArrived):
            continue  # a text tells its number, so it cannot come to this session
        attempt(story, name)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PREFIXES), st.lists(st.sampled_from(NAMES), max_size=15), st.sampled_from([None, text_menu()]))
def test_left_alone_every_session_ends(prefix: tuple[str, ...], names: list[str], menu: Menu | None) -> None:
    """Whatever happened: when the call is over, the line has taken its turn and nobody writes, the session closes."""
    story = Story(flow=support(), menu=menu, rules=None if menu is None else RULES)
    for name in (*prefix, *names):
        attempt(story, name)
    attempt(story, "call ended")
    for _ in range(3):
        story.wait(1e6)
        for name in ("accepted sms", "chat ended", "lost", "note", "call ended", "callback off"):
            attempt(story, name)
    if story.state.call is CallState.NONE and not story.told:
        return  # nothing ever happened
    assert story.closed()


TWO_INVITATIONS = """
first:
  - answer
  - sms.open: {desk: support_sms, text: text_hello, say: look_at_your_phone, within: 25s, apology: text_failed, failed: again}
  - goto: again
again:
  - sms.open: {desk: support_sms, text: text_hello, say: look_at_your_phone, within: 25s, apology: text_failed, failed: over}
  - goto: over
over:
  - hangup: over
"""


def explore(tables: set[Arrow]) -> set[Arrow]:
    """Walk from state to state with every event until all of *tables* has been seen, or nothing new turns up."""
    arrows: set[Arrow] = set()
    seen: set[tuple[object, ...]] = set()
    todo = [
        Story(flow=support()),
        Story(flow=None),
        Story(flow=support(), text=TextLeg.OPTED_OUT),
        Story(flow=flow_of(TWO_INVITATIONS)),
        # A flow that looks something up before it answers is not written yet; the leg rings as long.
        Story(flow=support(), call=CallState.RINGING, leg=LEG),
        Story(menu=text_menu(), rules=RULES),
    ]
    for prefix in PREFIXES:
        for menu, rules in ((None, None), (text_menu(), RULES)):
            story = Story(flow=support(), menu=menu, rules=rules)
            for name in prefix:
                attempt(story, name)
            todo.append(story)
    while todo and not tables <= arrows:
        story = todo.pop(0)
        arrows |= story.arrows
        if _key(story) in seen:
            continue
        seen.add(_key(story))
        for name in NAMES:
            other = story.fork()
            call, text = other.call(), other.texting()
            what = attempt(other, name)
            if what is not None and other.call() is call and CALL[call].get(type(what)) is call:
                arrows.add((call, type(what), call))
            if what is not None and other.texting() is text and TEXT[text].get(type(what)) is text:
                arrows.add((text, type(what), text))
            todo.append(other)
    return arrows


def _key(story: Story) -> tuple[object, ...]:
    """Two stories with the same key are taken for the same."""
    state, run = story.state, story.session._run
    wait = None if run is None else (run._memory.state, type(run.wait), getattr(run.wait, "delivered", None))
    once = (bool(state.wrapping), state.unanswered, state.asked, state.desk, state.introduced, story.flow and story.flow.name)
    chat = (state.transfer is None, state.suspected is None, story.menu is None, state.answered)
    beside = (state.consult is None or state.consult.answered, state.callback is None, state.held_by)
    return (state.call, state.text, wait, state.agent, state.chat_agent, story.closed(), once, chat, beside)


def test_every_arrow_of_the_tables_is_walked_and_no_other() -> None:
    """The tables (and the diagram drawn from them) say what really happens: nothing is missing, nothing is made up."""
    tables: set[Arrow] = set()
    for state, row in CALL.items():
        tables |= {(state, kind, then) for kind, then in row.items()}
    for leg, moves in TEXT.items():
        tables |= {(leg, kind, then) for kind, then in moves.items()}
    walked = explore(tables)
    missing = {f"{leg} --{kind.__name__}--> {then}" for leg, kind, then in tables - walked}
    made_up = {f"{leg} --{kind.__name__}--> {then}" for leg, kind, then in walked - tables}
    assert (sorted(missing), sorted(made_up)) == ([], [])


def test_a_refusal_says_why() -> None:
    """The words name the event and the state it cannot happen in."""
    story = Story(flow=support())
    with pytest.raises(UnexpectedEvent, match="DigitsReceived on a call leg that is none"):
        story.press("1")
    with pytest.raises(UnexpectedEvent, match="AgentOffered on a text leg that is none"):
        story.agent_chats()
