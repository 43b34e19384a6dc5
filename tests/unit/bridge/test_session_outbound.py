"""Conversations that begin on our side: an agent's, and a program's."""

import pytest

from bridge import events as e
from bridge.legs import TextLeg
from bridge.session import UnexpectedEvent
from tests.unit.bridge.story import ANN, BEN, LIMITS, RULES, START, Story, support, text_menu

DESK = e.QueueId("support_sms")
OPENED = e.AgentOpened(ANN, "Ann", DESK, "Your part has come")
DAY = 86_400.0


@pytest.fixture
def story() -> Story:
    """A customer who has never heard of us."""
    return Story(rules=RULES)


def api(name: str = "api-1", body: str = "Your parcel is here", **how: object) -> e.ApiSaid:
    """A text of a program."""
    return e.ApiSaid(e.MessageId(name), "api:shop", body, **how)  # type: ignore[arg-type]


def sent(story: Story) -> list[str]:
    """The texts since the last event."""
    return [text.body for text in story.new(e.SendText)]


# --- an agent's


def test_a_conversation_an_agent_opens_introduces_us_first(story: Story) -> None:
    """Who writes and how to stop it, then the agent's words, both for the same purpose; the chat is the agent's at once."""
    story.tell(OPENED)
    assert [(text.body, text.author, text.purpose, text.priority) for text in story.new(e.SendText)] == [
        ("[outbound en Ann]", "system", "care", 0),
        ("Your part has come", "agent:ann", "care", 0),
    ]
    assert story.new(e.AssignAgent) == [e.AssignAgent(ANN, "sms", DESK)]
    assert story.texting() is TextLeg.CHATTING
    assert story.state.service == "outbound"
    assert story.session.composer(ANN) is None


def test_who_knows_us_reads_the_agents_words_alone() -> None:
    """The introduction is said once."""
    story = Story(introduced=True)
    story.tell(OPENED)
    assert sent(story) == ["Your part has come"]
    story.tell(e.AgentSaid(ANN, "Come and fetch it"))
    assert sent(story) == ["Come and fetch it"]


def test_the_answer_reaches_the_agent_and_meets_no_menu() -> None:
    """Whoever answers a person is not asked for a number."""
    story = Story(menu=text_menu(), rules=RULES)
    story.tell(OPENED)
    story.text("2")
    assert not story.new(e.SendText)
    assert story.state.chat_agent == ANN


def test_a_conversation_nobody_answers_ends_without_a_word(story: Story) -> None:
    """The agent is free again, without a note; who never wrote is neither warned nor told that they were silent."""
    story.tell(OPENED)
    story.wait(RULES.idle)
    assert sent(story) == []
    assert story.new(e.ReleaseAgent) == [e.ReleaseAgent(ANN, "sms", wrap_up=False)]
    assert story.state.reason == "customer silent"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"text": TextLeg.OPTED_OUT}, "The customer sent STOP. Texting opens again when they send START."),
        ({"why_not_text": "This number cannot take texts."}, "This number cannot take texts."),
    ],
)
def test_nobody_is_written_to_who_must_not_be(state: dict[str, object], why: str) -> None:
    """The reason is fit to show, for an agent and for a program."""
    story = Story(**state)  # type: ignore[arg-type]
    for event in (OPENED, api()):
        with pytest.raises(UnexpectedEvent, match=why):
            story.tell(event)


def test_a_conversation_is_opened_in_a_session_of_its_own(story: Story) -> None:
    """Never into one that has begun."""
    story.text("hello")
    with pytest.raises(UnexpectedEvent, match="text leg that is queued"):
        story.tell(OPENED)


# --- a program's


def test_a_programs_text_introduces_us_and_waits_for_an_answer(story: Story) -> None:
    """Last in the order of sending, with the program's id, purpose and name; nobody stands in line yet."""
    story.tell(api(purpose="marketing"))
    assert [(text.body, text.author, text.purpose, text.priority) for text in story.new(e.SendText)] == [
        ("[outbound en]", "system", "marketing", 3),
        ("Your parcel is here", "api:shop", "marketing", 3),
    ]
    assert story.last_text == "api-1"
    assert story.texting() is TextLeg.INVITED
    assert story.state.service == "api"
    assert not story.all(e.JoinQueue)


def test_the_same_name_again_is_the_same_text(story: Story) -> None:
    """A program that did not hear our answer asks again; the customer reads it once."""
    story.tell(api())
    story.tell(api())
    assert story.news == []
    assert story.texts == ["[outbound en]", "Your parcel is here"]
    story.tell(api("api-2", "Bring your passport"))
    assert sent(story) == ["Bring your passport"]


def test_an_answer_is_greeted_and_reaches_the_desk(story: Story) -> None:
    """It is the first thing this customer has asked us."""
    story.tell(api())
    story.wait(60.0)
    story.text("when do you close?")
    assert sent(story) == ["[hello en]"]
    assert story.new(e.JoinQueue) == [e.JoinQueue(DESK, "sms", START + 60.0)]


def test_with_a_menu_the_answer_is_greeted_as_its_queue_greets() -> None:
    """No second introduction and no question what it is about."""
    story = Story(menu=text_menu(), rules=RULES)
    story.tell(api())
    story.text("when do you close?")
    [greeting] = sent(story)
    assert "an agent will answer you here, in about 4 min" in greeting


def test_an_answer_goes_to_the_queue_and_the_agent_that_were_named(story: Story) -> None:
    """To that agent alone at first, then to anybody there."""
    story.tell(api(queue=e.QueueId("other_sms"), agent=BEN))
    story.text("yes")
    assert [(join.queue, join.skills) for join in story.new(e.JoinQueue)] == [("other_sms", ("agent:ben",))]
    story.wait(RULES.prefer_for)
    assert [(join.queue, join.skills) for join in story.new(e.JoinQueue)] == [("other_sms", ())]


def test_nobody_answers_and_the_session_is_over(story: Story) -> None:
    """A day after the text."""
    story.tell(api())
    story.wait(LIMITS.reply_window)
    assert story.state.reason == "no answer"
    assert story.closed()


def test_a_text_that_is_not_delivered_ends_the_waiting(story: Story) -> None:
    """Nobody can answer what they did not get."""
    story.tell(api())
    story.undelivered()
    assert story.state.reason == "not delivered"
    assert story.closed()


def test_one_text_of_several_that_is_not_delivered_does_not(story: Story) -> None:
    """The other one may still be answered."""
    story.tell(api(), api("api-2", "Bring your passport", agent=BEN))
    story.tell(e.TextRejected(e.MessageId("api-1"), "content", "30007", "filtered"))
    assert not story.closed()
    story.text("which?")
    assert [join.skills for join in story.new(e.JoinQueue)] == [("agent:ben",)]


# --- planned


def test_a_planned_text_waits_and_so_does_the_answer_window(story: Story) -> None:
    """One text says who we are and what there is to say, so that nothing can come between."""
    story.tell(api(due_at=START + DAY, expires_at=START + 2 * DAY))
    [text] = story.all(e.SendText)
    assert (text.body, text.due_at, text.expires_at) == ("[outbound en]\nYour parcel is here", START + DAY, START + 2 * DAY)
    story.wait(DAY + LIMITS.reply_window - 1.0)
    assert not story.closed()
    story.wait(1.0)
    assert story.closed()


def test_what_goes_out_before_a_planned_text_introduces_us_itself(story: Story) -> None:
    """Planned first, but read second."""
    story.tell(api(due_at=START + DAY))
    story.tell(api("api-2", "The lift is out of order"))
    assert sent(story) == ["[outbound en]", "The lift is out of order"]


def test_what_goes_out_after_a_planned_text_does_not(story: Story) -> None:
    """By then they know."""
    story.tell(api(due_at=START + 60.0), api("api-2", "Bring your passport", due_at=START + 120.0))
    assert sent(story)[1] == "Bring your passport"
    story.wait(200.0)
    story.tell(api("api-3", "We close at six"))
    assert sent(story) == ["We close at six"]


def test_a_planned_text_that_is_canceled_leaves_no_introduction_behind(story: Story) -> None:
    """Nobody reads that we are writing to them and then nothing; and it does not count as said."""
    story.tell(api(due_at=START + 60.0), api("api-2", "Bring your passport", due_at=START + DAY))
    story.tell(e.TextReported(e.MessageId("api-1"), "canceled", "canceled"))
    story.wait(100.0)
    story.text("hello?")
    assert sent(story) == ["[hello en]"]
    assert story.state.introduced


def test_a_planned_text_too_long_to_say_both_is_said_in_two(story: Story) -> None:
    """Providers take 1,600 characters."""
    story.tell(api(body="x" * 1_600, due_at=START + DAY))
    assert [(len(text.body), text.due_at) for text in story.all(e.SendText)] == [(13, START + DAY), (1_600, START + DAY)]


# --- into what is going on


def test_in_a_chat_a_programs_text_goes_out_and_changes_nothing(story: Story) -> None:
    """The agent keeps the chat and its clock."""
    story.text("hello")
    story.agent_chats()
    wake_at = story.session.wake_at
    story.tell(api())
    assert sent(story) == ["Your parcel is here"]
    assert (story.texting(), story.state.chat_agent, story.session.wake_at) == (TextLeg.CHATTING, ANN, wake_at)
    story.undelivered()
    assert story.texting() is TextLeg.CHATTING


def test_on_a_call_a_programs_text_goes_out_and_the_call_goes_on() -> None:
    """The answer is for the agent on the line."""
    story = Story(flow=support(), offers={"deflect": False})
    story.to_the_line()
    story.agent_answers()
    story.tell(api())
    assert sent(story) == ["[outbound en]", "Your parcel is here"]
    assert story.texting() is TextLeg.OPEN
    story.text("thank you")
    assert not story.new(e.JoinQueue)
    assert story.call() == "connected"


def test_after_a_chat_a_programs_text_waits_for_an_answer_again(story: Story) -> None:
    """In the same session while it is open; when it is closed it is refused, and the next one opens another."""
    story.text("hello")
    story.agent_chats()
    story.tell(e.AgentEndedChat(ANN), e.WrapUpNoted(ANN, "", None))
    story.tell(api(agent=BEN))
    assert story.texting() is TextLeg.INVITED
    story.text("thanks")
    assert [join.skills for join in story.new(e.JoinQueue)] == [("agent:ben",)]
    over = Story()
    over.text("STOP", keyword="stop")
    with pytest.raises(UnexpectedEvent, match="the session is closed"):
        over.tell(api())


def test_stop_to_a_programs_text_is_confirmed_and_over(story: Story) -> None:
    """Nothing more goes out, whatever is asked for."""
    story.tell(api())
    story.text("STOP", keyword="stop")
    assert sent(story) == ["[stop en]"]
    assert story.closed()


def test_exit_to_a_programs_text_bothers_nobody() -> None:
    """A word of thanks, no line."""
    story = Story(menu=text_menu())
    story.tell(api())
    story.text("exit")
    assert sent(story) == ["[bye en]"]
    assert (story.state.reason, story.closed()) == ("left", True)


def test_a_programs_ticket_is_on_the_card(story: Story) -> None:
    """So the agent who has the answer knows what it is about."""
    story.tell(e.ApiSaid(e.MessageId("api-1"), "api:shop", "Your parcel is here", ticket="4711"))
    assert story.state.card["ticket"] == "4711"
    assert [line["ticket"] for line in story.lines("api.said")] == ["4711"]
