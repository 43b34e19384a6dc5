"""Deflection: a caller goes on by text, and neither loses the place nor is told what is not so."""

import pytest

from bridge import events as e
from bridge.legs import CallState, TextLeg
from tests.unit.bridge.story import ANN, BEN, LEG, LIMITS, OURS, START, Story, support


@pytest.fixture
def story() -> Story:
    """A caller who is being asked whether to go on by text."""
    story = Story(flow=support(), offers={"deflect": True, "hold": False})
    story.to_the_offer()
    assert story.said == ["offer_text"]
    return story


def sent(story: Story) -> Story:
    """The caller said yes; the text is on its way and the caller listens."""
    story.press("1")
    assert story.said == ["look_at_your_phone"]
    return story


def failed(story: Story) -> Story:
    """The text did not arrive, and the caller has been told."""
    sent(story).undelivered()
    assert story.said == ["text_failed"]
    story.prompt_over()
    return story


def test_nothing_is_texted_before_the_caller_said_yes(story: Story) -> None:
    """No text leaves before the key; with the key the consent is kept in the words that were heard."""
    assert not story.texts
    story.press("1")
    [consent] = story.new(e.RecordConsent)
    assert (consent.granted, consent.purpose, consent.evidence) == (True, "session", f"digit 1 on {LEG}")
    assert consent.words in [line["words"] for line in story.lines("offer.made")]
    commands = [type(command) for command in story.news]
    assert commands.index(e.RecordConsent) < commands.index(e.SendText)
    assert story.lines("offer.answered") == [{"kind": "deflect", "answer": "accepted", "digit": "1"}]
    assert story.new(e.ReportOffer) == [e.ReportOffer(e.QueueId("support"), True)]


def test_a_caller_who_says_no_gets_no_text_and_stands_in_line_from_the_question_on(story: Story) -> None:
    """Another key declines; the place counts from before the question."""
    story.wait(3.0)
    story.press("2")
    [join] = story.new(e.JoinQueue)
    assert (join.queue, join.channel, join.since) == ("support", "voice", START)
    assert not story.texts
    assert not story.all(e.RecordConsent)


def test_the_call_ends_only_when_the_text_is_delivered(story: Story) -> None:
    """Accepted and sent are not enough; delivered is, and the sentence is heard to its end."""
    sent(story)
    story.prompt_over()
    story.tell(e.TextAccepted(story.last_text, e.ProviderRef("x"), 1), e.TextReported(story.last_text, "sent"))
    assert not story.new(e.HangUp)
    story.tell(e.TextReported(story.last_text, "delivered"))
    assert story.said == ["text_arrived"]
    assert not story.new(e.HangUp)
    story.prompt_over()
    assert story.new(e.HangUp) == [e.HangUp(LEG)]
    assert story.call() is CallState.ENDING


def test_a_quick_delivery_lets_the_sentence_end_first(story: Story) -> None:
    """A report that comes while "look at your phone" is still being said does not cut it."""
    sent(story).delivered()
    assert story.said == ["look_at_your_phone"]
    story.prompt_over()
    assert story.said == ["text_arrived"]


def test_a_text_that_fails_is_told_and_the_place_is_kept(story: Story) -> None:
    """The caller hears that it did not work and stands in line with the place from before the offer."""
    story.wait(2.0)
    sent(story)
    story.wait(7.0)
    story.undelivered()
    assert story.said == ["text_failed"]
    assert [line["what"] for line in story.lines("promise.made")] == ["text_on_its_way", "place_kept"]
    assert story.texting() is TextLeg.OPEN
    story.prompt_over()
    [join] = story.new(e.JoinQueue)
    assert (join.channel, join.since) == ("voice", START)
    assert story.session.wake_at is not None


def test_a_text_that_takes_too_long_counts_as_failed_and_is_never_sent_late(story: Story) -> None:
    """After the limit the caller is told; the text was given the same limit, so it cannot turn up half an hour later."""
    sent(story)
    [text] = story.all(e.SendText)
    assert text.expires_at == story.now + 25.0
    story.prompt_over()
    story.wait(24.0)
    assert story.texting() is TextLeg.INVITED
    story.wait(2.0)
    assert story.said == ["text_failed"]
    assert story.texting() is TextLeg.OPEN
    assert "text" not in story.state.timers


@pytest.mark.parametrize("error_class", ["bad_address", "too_late", "opted_out"])
def test_a_text_that_is_refused_is_told_at_once(story: Story, error_class: str) -> None:
    """Whatever the provider's reason, the caller does not wait for the limit."""
    sent(story).tell(e.TextRejected(story.last_text, error_class, "21211", "no"))
    assert story.said == ["text_failed"]
    assert story.lines("text.failed")[0]["code"] == "21211"


def test_a_reply_after_the_apology_belongs_to_the_call_and_is_not_forgotten(story: Story) -> None:
    """The late text arrived after all and is answered: the call goes on, and when nobody takes it the desk answers the text."""
    failed(story).text("still there?")
    assert story.call() is CallState.QUEUED
    assert not story.new(e.JoinQueue)
    story.caller_hangs_up()
    joins = story.new(e.JoinQueue)
    assert [(join.channel, join.queue, join.since) for join in joins] == [("sms", "support_sms", START)]


def test_an_agent_who_takes_the_call_has_the_late_reply_in_hand(story: Story) -> None:
    """What was texted while waiting is answered in the call: no chat is opened behind the agent's back."""
    failed(story).text("still there?")
    story.agent_answers()
    story.caller_hangs_up()
    assert story.texting() is TextLeg.OPEN
    assert [join.channel for join in story.all(e.JoinQueue)] == ["voice"]


def test_a_reply_that_overtakes_the_delivery_report_counts_as_delivered(story: Story) -> None:
    """The customer answers before the network reports: the call need not wait, and the chat takes the call's place."""
    story.wait(5.0)
    sent(story)
    story.prompt_over()
    story.text("my router blinks")
    assert story.said == ["text_arrived"]
    story.prompt_over()
    assert story.call() is CallState.ENDING
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    [join] = story.new(e.JoinQueue)
    assert (join.queue, join.channel, join.since) == ("support_sms", "sms", START)
    story.delivered()
    assert story.texting() is TextLeg.QUEUED


def test_a_reply_while_the_call_is_being_ended_joins_the_desk_at_once(story: Story) -> None:
    """Between our goodbye and the network's the text is not lost."""
    sent(story).prompt_over()
    story.delivered()
    story.prompt_over()
    story.text("here I am")
    assert story.texting() is TextLeg.QUEUED
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert [join.channel for join in story.all(e.JoinQueue)] == ["sms"]


def test_the_reply_opens_a_chat_with_all_that_the_call_knew(story: Story) -> None:
    """Language, menu choices and the waiting time already spent come along; the customer is not greeted a second time."""
    sent(story).prompt_over()
    story.delivered()
    story.prompt_over()
    story.tell(e.CallEnded(LEG, "platform", "bye"))
    assert story.texting() is TextLeg.INVITED
    story.wait(40.0)
    story.text("my router blinks")
    [join] = story.new(e.JoinQueue)
    assert (join.queue, join.channel, join.since) == ("support_sms", "sms", START)
    assert not story.new(e.SendText)
    assert story.state.path == ["technical"]
    assert story.state.card["topic"] == "technical"
    story.agent_chats()
    assert story.texting() is TextLeg.CHATTING
    assert story.state.chat_agent == ANN


def test_a_caller_who_hangs_up_before_the_delivery_keeps_the_invitation_and_the_place(story: Story) -> None:
    """Hanging up while the text is on its way is not abandoning: the reply is taken as promised."""
    sent(story).caller_hangs_up()
    assert story.texting() is TextLeg.INVITED
    assert not story.all(e.LeaveQueue)
    story.delivered()
    story.wait(600.0)
    story.text("sorry, my battery died")
    [join] = story.new(e.JoinQueue)
    assert (join.channel, join.since) == ("sms", START)


def test_an_invitation_nobody_answers_ends_after_its_window(story: Story) -> None:
    """The session does not stay open for ever."""
    sent(story).caller_hangs_up()
    story.wait(LIMITS.reply_window - 1.0)
    assert not story.closed()
    story.wait(2.0)
    assert story.closed()


def test_stop_instead_of_a_reply_gives_the_caller_the_line_back(story: Story) -> None:
    """Who wants no texts must not be left without a call: the place is kept, and the one owed answer is sent."""
    sent(story).prompt_over()
    story.text("STOP", keyword="stop")
    assert story.new(e.OptOut) == [e.OptOut(story.state.customer or "", OURS, "message in-1")]
    assert [text.required for text in story.new(e.SendText)] == [True]
    assert story.said == ["text_failed"]
    story.prompt_over()
    assert [join.since for join in story.new(e.JoinQueue)] == [START]
    story.delivered(story.all(e.SendText)[0].message)
    assert story.call() is CallState.QUEUED


def test_a_customer_who_opts_out_while_being_asked_is_not_told_that_a_text_comes(story: Story) -> None:
    """STOP between the question and the key: nothing is sent, the caller hears so at once and waits in line."""
    story.text("stop", keyword="stop")
    story.press("1")
    assert not [text for text in story.all(e.SendText) if not text.required]
    assert story.said == ["text_failed"]
    story.prompt_over()
    assert story.call() is CallState.QUEUED
    assert story.all(e.JoinQueue)[-1].since == START


def test_a_failure_that_was_none_changes_nothing_any_more(story: Story) -> None:
    """`undelivered` and then `delivered`: the caller has been told and waits; nobody hangs up on them."""
    failed(story).tell(e.TextReported(story.last_text, "delivered"))
    assert story.call() is CallState.QUEUED
    assert not story.news


def test_a_withheld_number_is_never_asked() -> None:
    """There is nowhere to text, so the flow goes straight to the line, and agents are told why they cannot write."""
    story = Story(customer=None, flow=support(), offers={"deflect": True, "hold": True})
    story.to_the_line()
    assert not story.lines("offer.made")
    story.agent_answers()
    assert story.session.composer(ANN) == "The caller withheld the number, so there is nowhere to text."


def test_a_customer_who_opted_out_earlier_is_never_asked_and_never_texted() -> None:
    """An opt-out outlives the session it came in."""
    story = Story(flow=support(), offers={"deflect": True, "hold": True}, text=TextLeg.OPTED_OUT)
    story.to_the_line()
    assert not story.lines("offer.made")
    story.wait(600.0)
    story.caller_hangs_up()
    assert not story.texts
    assert story.closed()


def test_an_agent_lost_in_the_chat_gives_it_back_to_its_place(story: Story) -> None:
    """The place is that of the call, so the customer is next, and the next agent sees the same session."""
    sent(story).caller_hangs_up()
    story.text("hello")
    story.agent_chats()
    story.wait(30.0)
    story.tell(e.AgentLost(ANN))
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    [join] = story.new(e.JoinQueue)
    assert (join.queue, join.channel, join.since) == ("support_sms", "sms", START)
    story.wait(LIMITS.chat.idle * 2)
    assert story.texting() is TextLeg.QUEUED
    story.agent_chats(BEN)
    assert story.state.chat_agent == BEN
