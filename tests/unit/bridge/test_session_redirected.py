"""Sessions that the floor puts into another line: the place is kept, and everybody says where they stand now."""

import pytest
from msgspec.structs import replace

from bridge import events as e
from bridge.legs import CallState, TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, FACTS, START, Story, flow_of

SUPPORT, BACKUP, DESK, OTHER = map(e.QueueId, ("support", "backup", "support_sms", "other_sms"))
TO_BACKUP = e.QueueRedirected("voice", SUPPORT, BACKUP)
FLOW = """
first:
  - answer
  - queue:
      name: support
      treatment:
        - music: calm
        - offer_sms:
            kind: hold
            after: 20s
            prompt: not_heard
            hello: text_hold_hello
            ask: [{into: reason, text: ask_reason}]
      then: {answered: over}
over:
  - hangup: done
"""
CALLBACK = e.CallbackAsked("api:shop", SUPPORT)


@pytest.fixture
def story() -> Story:
    """A caller who waits for support."""
    story = Story(flow=flow_of(FLOW), offers={"hold": True})
    story.dial()
    story.wait(10.0)
    assert story.call() is CallState.QUEUED
    return story


def test_a_call_that_is_moved_says_where_it_stands(story: Story) -> None:
    """The line of the timeline has both queues; nothing is asked of the floor, which has done it."""
    story.tell(TO_BACKUP)
    assert story.lines("queue.moved") == [{"queue": "support", "to": "backup", "channel": "voice"}]
    assert (story.state.queue, story.state.since) == (BACKUP, START)
    assert story.new(e.JoinQueue) == []


def test_a_call_that_is_not_picked_up_goes_back_to_the_line_it_was_in_last(story: Story) -> None:
    """And not to the one it began in."""
    story.tell(TO_BACKUP, e.AgentAccepted(ANN, "Ann", "voice", "sip:ann@127.0.0.1"))
    leg = story.state.leg
    assert leg is not None
    story.tell(e.AgentLegFailed(leg, story.agent_leg, 408, "Request Timeout"))
    assert [place.queue for place in story.new(e.JoinQueue)] == [BACKUP]


def test_texting_is_offered_for_the_line_in_which_the_caller_stands(story: Story) -> None:
    """The flow knows only the one it put them in."""
    story.tell(TO_BACKUP)
    story.wait(30.0)
    assert [asked.queue for asked in story.all(e.DecideOffer)] == [BACKUP]
    assert story.state.queue == BACKUP


def test_who_has_left_the_line_meanwhile_is_not_in_the_other(story: Story) -> None:
    """What comes too late changes nothing: another line, or none."""
    with pytest.raises(UnexpectedEvent, match="a line that it has left"):
        story.tell(e.QueueRedirected("voice", BACKUP, OTHER))
    story.caller_hangs_up()
    with pytest.raises(UnexpectedEvent):
        story.tell(TO_BACKUP)
    assert story.state.queue == SUPPORT


def test_who_is_to_be_called_back_is_moved_too() -> None:
    """A callback stands in line like anybody else, and after a restart it stands where it stood."""
    story = Story(facts=replace(FACTS, to_call=str))
    story.tell(CALLBACK, TO_BACKUP)
    assert (story.call(), story.state.queue) == (CallState.CALLBACK, BACKUP)
    story.tell(e.ProcessRestarted())
    assert [place.queue for place in story.new(e.JoinQueue)] == [BACKUP]


def test_a_chat_that_is_moved_is_answered_there() -> None:
    """The next conversation goes to the usual desk again."""
    story = Story()
    story.text("hello")
    since = story.state.since
    touched = story.state.touched_at
    story.wait(5.0)
    story.tell(e.QueueRedirected("sms", DESK, OTHER))
    assert (story.texting(), story.state.chat_queue, story.state.since) == (TextLeg.QUEUED, OTHER, since)
    assert story.state.touched_at == touched
    assert story.state.desk == DESK
    assert story.lines("queue.moved") == [{"queue": "support_sms", "to": "other_sms", "channel": "sms"}]
    story.tell(e.ProcessRestarted())
    assert [place.queue for place in story.new(e.JoinQueue)] == [OTHER]
