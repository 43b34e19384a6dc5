"""Hold-time texts: a waiting caller answers questions by text while the music plays."""

import pytest

from bridge import events as e
from bridge.legs import CallState, TextLeg
from tests.unit.bridge.story import ANN, BEN, LEG, START, Story, support


@pytest.fixture
def story() -> Story:
    """A caller in line who is being asked whether to answer questions by text."""
    story = Story(flow=support(), offers={"deflect": False, "hold": True})
    story.to_the_line()
    story.wait(15.0)
    story.prompt_over()
    story.wait(1.0)
    assert story.said == ["offer_hold_text"]
    return story


def asked(story: Story) -> Story:
    """The caller agreed and has the first question."""
    story.press("1")
    assert "what are you calling about?" in story.texts[-1]
    return story


def test_a_key_is_the_consent_and_one_text_introduces_and_asks(story: Story) -> None:
    """Consent is kept, the first text says who we are and asks; it is worthless later, so it expires."""
    story.press("1")
    assert [type(c) for c in story.news if isinstance(c, e.RecordConsent | e.SendText)] == [e.RecordConsent, e.SendText]
    [text] = story.new(e.SendText)
    assert "STOP" in text.body
    assert text.expires_at == story.now + 120.0
    assert story.said == ["hold_text_sent"]
    assert story.asked()


def test_questions_go_one_by_one_and_end_with_thanks(story: Story) -> None:
    """Words answer the first, a photo the second; then nothing more is asked."""
    asked(story).delivered()
    story.text("the router blinks")
    assert "photo" in story.texts[-1]
    assert story.asked()
    story.text("", photos=1)
    assert story.texts[-1].startswith("Thank you")
    assert not story.asked()
    assert story.state.answers == {"reason": "the router blinks", "photo": "1 photo"}
    assert len(story.texts) == 3
    assert story.call() is CallState.QUEUED


def test_words_that_come_with_a_photo_are_kept_with_it(story: Story) -> None:
    """A photo and its caption answer both questions at once; the agent sees that there is a photo."""
    asked(story)
    story.text("the router blinks", photos=2)
    assert story.state.answers == {"reason": "the router blinks, 2 photos"}
    assert not story.asked()


def test_after_the_thanks_a_text_is_no_answer(story: Story) -> None:
    """What comes later stands in the timeline, and the desk has it when nobody takes the call."""
    asked(story)
    story.text("the router blinks")
    story.text("skip")
    assert not story.asked()
    story.text("and it smells")
    assert story.state.answers == {"reason": "the router blinks", "photo": "skip"}
    assert story.unanswered()


def test_an_answer_is_not_taken_for_a_text_nobody_answered(story: Story) -> None:
    """A caller who answered all questions and hangs up gets the flow's text, not a chat they did not ask for."""
    asked(story)
    story.text("the router blinks")
    story.wait(60.0)
    story.caller_hangs_up()
    assert not [join for join in story.all(e.JoinQueue) if join.channel == "sms"]
    assert "kept you waiting" in story.texts[-1]


def test_words_do_not_answer_the_question_for_a_photo(story: Story) -> None:
    """They are shown and kept for whoever answers; the question stays open."""
    asked(story)
    story.text("the router blinks")
    story.text("where do I find it?")
    assert "photo" not in story.state.answers
    assert story.asked()
    assert story.unanswered()


@pytest.mark.parametrize("answer", ["other key", "silence"])
def test_a_refusal_is_never_asked_again(story: Story, answer: str) -> None:
    """Another key or silence is a no for this call, however long it lasts; no consent is kept."""
    if answer == "other key":
        story.press("3")
    else:
        story.prompt_over()
        story.wait(6.0)
    story.wait(1500.0)
    assert len(story.lines("offer.made")) == 1
    assert story.lines("offer.answered")[0]["answer"] == ("declined" if answer == "other key" else "no_input")
    assert not story.all(e.RecordConsent)
    assert not story.texts
    assert story.all(e.ReportOffer) == [e.ReportOffer(e.QueueId("support"), False)]


def test_the_agent_sees_the_answers_before_saying_hello(story: Story) -> None:
    """They are in the state before the agent's phone rings."""
    asked(story)
    story.text("the router blinks")
    story.agent_takes()
    assert story.state.answers == {"reason": "the router blinks"}
    assert story.call() is CallState.CONNECTING


def test_an_agent_in_the_middle_of_the_questions_ends_the_asking(story: Story) -> None:
    """What was asked may still be answered; nothing more is asked."""
    asked(story)
    story.agent_answers()
    assert story.asked()
    story.text("the router blinks")
    assert story.state.answers == {"reason": "the router blinks"}
    assert not story.asked()
    assert not story.new(e.SendText)
    story.text("you see?")
    assert len(story.texts) == 1
    assert not story.unanswered()


def test_a_question_that_does_not_arrive_is_told_and_no_more_is_asked(story: Story) -> None:
    """The caller hears it and keeps the place; a later text is no answer."""
    asked(story).undelivered()
    assert story.said == ["text_failed"]
    assert story.call() is CallState.QUEUED
    assert not story.asked()
    story.text("hello?")
    assert story.state.answers == {}


def test_stop_ends_the_questions_and_keeps_the_call_in_line(story: Story) -> None:
    """One owed answer, no further question, the same place."""
    asked(story)
    story.text("STOP", keyword="stop")
    assert [text.required for text in story.new(e.SendText)] == [True]
    assert not story.asked()
    assert story.call() is CallState.QUEUED
    story.text("the router blinks")
    assert story.state.answers == {}
    assert not story.new(e.SendText)
    story.text("START", keyword="start")
    story.text("the router blinks")
    assert story.state.answers == {"reason": "the router blinks"}


def test_stop_before_the_key_sends_nothing_and_says_so(story: Story) -> None:
    """The caller opted out while the offer was being made: agreeing by key does not bring a text."""
    story.text("stop", keyword="stop")
    story.press("1")
    assert [text.body for text in story.all(e.SendText)] == ["[stop en]"]
    assert story.said == ["text_failed"]
    assert not story.asked()
    assert story.call() is CallState.QUEUED


def test_an_agent_whose_phone_is_not_picked_up_leaves_the_place_as_it_was() -> None:
    """Queue, time, priority and skills are the same as before; the agent is free, and nothing of it is told the caller."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    [first] = story.new(e.JoinQueue)
    assert first.skills == ("lang:en", "technical")
    story.wait(20.0)
    story.agent_takes()
    [ring] = story.new(e.ConnectAgent)
    story.wait(20.0)
    played = len(story.all(e.PlayPrompts))
    story.tell(e.AgentLegFailed(LEG, ring.agent_leg, 408, "Request Timeout"))
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "voice", wrap_up=False)]
    assert story.new(e.JoinQueue) == [first]
    assert len(story.all(e.PlayPrompts)) == played
    story.agent_answers(BEN)
    assert story.state.agent == BEN
    assert story.lines("agent.unreachable")[0]["name"] == "Ann"


def test_nobody_is_said_to_be_missing_while_an_agents_phone_rings() -> None:
    """The limit of the wait falls into the ringing: the flow's clock stands still until the agent has answered or not."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.wait(1795.0)
    story.prompt_over()
    story.agent_takes()
    story.wait(15.0)
    assert story.said != ["nobody_there"]
    assert story.call() is CallState.CONNECTING
    story.tell(e.AgentLegFailed(LEG, story.agent_leg, 408, "Request Timeout"))
    story.wait(0.0)
    assert story.said == ["nobody_there"]
    assert story.new(e.LeaveQueue) == [e.LeaveQueue("voice", "timed_out")]


def test_a_caller_who_leaves_by_key_while_the_agents_phone_rings_stops_the_ringing() -> None:
    """The agent's phone must not ring on, and an answer that comes all the same is refused."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.agent_takes()
    [ring] = story.new(e.ConnectAgent)
    story.press("#")
    assert story.new(e.DropAgent) == [e.DropAgent(LEG, ring.agent_leg)]
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "voice", wrap_up=False)]
    assert story.said == ["goodbye"]
    story.prompt_over()
    assert story.new(e.HangUp) == [e.HangUp(LEG)]


def test_a_caller_who_waited_and_agreed_gets_a_text_when_hanging_up(story: Story) -> None:
    """The flow's follow-up goes by the consent of this call, once, and its reply has the call's place."""
    asked(story)
    story.wait(100.0)
    story.caller_hangs_up()
    assert "kept you waiting" in story.texts[-1]
    story.wait(300.0)
    story.text("yes please")
    [join] = story.new(e.JoinQueue)
    assert (join.channel, join.since) == ("sms", START)
    assert story.texting() is TextLeg.QUEUED


def test_the_caller_learns_the_wait_and_the_timeline_has_it() -> None:
    """What was told is on record in the words that were heard, and heard only as far as it was."""
    story = Story(flow=support(), offers={"deflect": False, "hold": False})
    story.to_the_line()
    story.wait(6.0)
    assert story.lines("position.told")[0]["position"] == 3
    assert (story.lines("ewt.told")[0]["low"], story.lines("ewt.told")[0]["high"]) == (4, 6)
    play = story.all(e.PlayPrompts)[-1]
    story.tell(e.PromptFinished(LEG, play.play, completed=False, heard=1.234))
    assert (story.lines("prompt.played")[-1]["heard"], story.lines("prompt.played")[-1]["completed"]) == (1.23, False)
    story.tell(e.PromptFinished(LEG, play.play, completed=False, heard=1.234))
    assert not [line for line in story.new(e.Record) if line.kind == "prompt.played"]
