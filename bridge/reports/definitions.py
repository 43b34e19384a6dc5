"""What every figure means: its words, its formula and the variant of it that is used.

The pages and `docs/reports.md` say it from here. A figure is a sum of counted things, or one sum through another, so its formula
is data, and what is shown is what is computed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

Unit: TypeAlias = Literal["count", "seconds", "share", "number", "money"]
How: TypeAlias = Literal["sum", "ratio", "most", "median", "p90"]
"""`ratio`: the sum of `top` through the sum of `bottom`. `most`: the largest. `median` and `p90` are of single values."""
Name: TypeAlias = str
Dimension: TypeAlias = Literal["interval", "queue", "agent", "team", "channel", "type"]
"""What figures may be grouped by."""


def _(words: str) -> str:
    """Marks words for translation; they are translated where they are shown."""
    return words


class Measure(msgspec.Struct, frozen=True):
    """A figure."""

    id: Name
    title: str
    words: str
    """What it means, in a sentence or two."""
    top: tuple[Name, ...]
    """The counted things of `COUNTED` that are added up."""
    bottom: tuple[Name, ...] = ()
    how: How = "sum"
    unit: Unit = "count"
    variant: str = ""
    """Which of several usual definitions it is; empty when there is only one."""
    better: Literal["more", "less", ""] = ""
    """Which way is good, for comparisons."""

    @property
    def formula(self) -> str:
        """As it is computed."""
        top, bottom = " + ".join(self.top), " + ".join(self.bottom)
        match self.how:
            case "ratio":
                over, under = (f"({each})" if " + " in each else each for each in (top, bottom))
                return f"{over} / {under}"
            case "most":
                return f"max({top})"
            case "median" | "p90":
                return f"{self.how}({top})"
            case _:
                return top


COUNTED: Mapping[Name, str] = MappingProxyType(
    {
        # Stays in a line; each counts in the span in which it began.
        "offered": _("stays in a line, of all who entered it: new, again, handed over, come back or moved"),
        "answered": _("stays that ended with an agent: a call when the agent's phone was picked up, a chat when it was accepted"),
        "answered_in_time": _("stays that were answered within the queue's target"),
        "abandoned": _("calls whose caller hung up in the line, or while the agent's phone rang, after the short-abandon time"),
        "short_abandoned": _("calls whose caller hung up sooner than the queue's short-abandon time"),
        "abandoned_in_time": _("calls, short ones too, whose caller hung up within the queue's target"),
        "left_otherwise": _(
            "stays that ended in another way: timed out, no agents, another choice by key or text, opted out, moved, a transfer "
            "that nobody took, or a call that was lost with the server"
        ),
        "waiting": _("stays that are not over"),
        "wait_answered": _("seconds between entering this line and being answered, of those answered"),
        "wait_abandoned": _("seconds in the line of all who hung up"),
        "place_wait_answered": _("seconds since the customer began to wait, in whatever line, of those answered"),
        "longest_wait": _("seconds in the line, of all that began in the span; of who still waits, until now"),
        "unanswered_rings": _("offers to agents that were declined, rang out, or whose phone was not picked up"),
        # Agents' parts; each counts in the span in which it began.
        "handled": _("agents' parts in calls and chats that are over"),
        "handled_calls": _("the calls among them"),
        "handled_chats": _("the chats among them; a chat that is handed over or put aside ends with that agent"),
        "going_on": _("agents' parts that are not over"),
        "talk": _("seconds between the agent's phone being picked up and the end of their part, less hold; of handled calls"),
        "hold": _("seconds in which the caller was on hold; of handled calls"),
        "wrap_up": _("seconds of wrap-up after a call: the agent's wrap-up that began when this call had ended, once it is over"),
        "chat_time": _("seconds between accepting a chat and its end; of handled chats"),
        "first_responses": _("chats whose customer had a first answer of an agent"),
        "first_response": _("seconds between the customer's first text of a chat and the agent's first"),
        "responses": _("agents' texts that answered a text of the customer"),
        "response_time": _("seconds from the customer's text that waited longest to the agent's answer"),
        # Transfers; each counts when it was begun, completed or failed.
        "transfers_started": _("calls and chats that agents handed on"),
        "transfers_completed": _("transfers that somebody took"),
        "transfers_failed": _("transfers that came back"),
        "missed": _("work that rang out at an agent, or whose phone was not picked up"),
        "declined": _("work that an agent declined"),
        # Agents' time.
        "logged_in": _("seconds in which agents were ready, not ready or in wrap-up"),
        "ready": _("seconds in which agents were ready, busy or not"),
        "not_ready": _("seconds in which agents were not ready"),
        "wrapping": _("seconds in which agents were in wrap-up"),
        "busy": _("seconds in which agents had a call or a chat, or were in wrap-up; while logged in, and counted once"),
        "idle": _("seconds in which agents were ready with nothing to do"),
        "chat_seconds": _("seconds of every open chat, added up"),
        "chatting": _("seconds in which agents had one chat or more"),
        # Sessions.
        "sessions": _("sessions that began"),
        "contacts": _("sessions that the customer began: a call, a text"),
        "left_before_line": _("contacts that are over and never came to a line"),
        "repeated_24h": _("contacts whose customer had begun another within the 24 hours before"),
        "repeated_7d": _("contacts whose customer had begun another within the 7 days before"),
        "deflected": _("calls whose caller accepted to text instead, and whose first text was delivered"),
        "settled_deflected": _("of these, the ones that are 24 hours old and whose customer is known"),
        "contained": _("of these, the ones whose customer did not call within 24 hours"),
        # Offers of texting; every stage counts in the span of the decision.
        "offers_considered": _("times a flow asked whether to offer texting"),
        "offers_eligible": _("of these, the ones in which the caller could have been offered it, however long the wait"),
        "offers_held_out": _("eligible callers who were not offered it, so that offers can be judged by comparison"),
        "offers_made": _("offers that were spoken"),
        "offers_accepted": _("offers that were accepted"),
        "offers_declined": _("offers that were declined"),
        "offers_unanswered": _("offers that were not answered"),
        "offers_delivered": _("accepted offers whose text was delivered"),
        # Announced waits.
        "waits_told": _("announcements of a waiting time, in minutes or as longer than usual"),
        "waits_compared": _("announced ranges whose caller was answered afterwards; who hung up is in none of these"),
        "waits_within": _("of these, the ones answered within the announced range; less than a minute counts as 0 to 1"),
        "wait_error": _("seconds by which it took longer than the middle of the announced range; negative when it was shorter"),
        "wait_error_size": _("the same without its sign"),
        # Agreements.
        "consents_given": _("agreements that were asked for and given"),
        "consents_refused": _("agreements that were asked for and refused"),
        "opted_out": _("opt-outs"),
        "opted_in": _("opt-ins after that"),
        # Texts; each counts when it was made.
        "texts_preset": _("agents' texts from a ready-made one"),
        "texts_custom": _("agents' texts in their own words"),
        "texts_flow": _("texts that a call's flow sent"),
        "texts_system": _("texts that the server sent by itself: greetings, menus, warnings, answers to STOP and HELP"),
        "texts_api": _("texts of programs"),
        "texts_sent": _("all texts from us"),
        "texts_received": _("texts from customers"),
        "texts_delivered": _("texts of ours whose delivery was reported"),
        "texts_failed": _("texts of ours that were not sent or not delivered"),
        "segments_sent": _("segments of texts of ours that left, as the provider counted them"),
        "segments_received": _("segments of texts from customers, as the provider counted them; one where it did not"),
        "cost": _("segments times their price in `reports.prices`"),
        # Callbacks.
        "callbacks_promised": _("callbacks that a caller asked for"),
        "callbacks_tried": _("of these, the ones with a first try"),
        "callbacks_in_time": _("of these, the ones whose first try began by the promised time, or that had none"),
    }
)
"""Everything that is counted, and what it is. Figures are made of these."""


def _ratio(
    ident: str, title: str, words: str, top: tuple[Name, ...], bottom: tuple[Name, ...], unit: Unit = "share", **more: str
) -> Measure:
    return Measure(ident, title, words, top, bottom, "ratio", unit, **more)  # type: ignore[arg-type]  # from the few calls below


_ALL_ABANDONED = ("abandoned", "short_abandoned")
_LIST: tuple[Measure, ...] = (
    Measure("offered", _("Offered"), _("Calls and chats that entered a line."), ("offered",)),
    Measure("answered", _("Answered"), _("Those of them that an agent answered."), ("answered",), better="more"),
    Measure(
        "abandoned",
        _("Abandoned"),
        _("Callers who hung up in the line. In-menu and short abandons are not counted here."),
        ("abandoned",),
        better="less",
        variant=_("without short abandons"),
    ),
    Measure(
        "short_abandoned",
        _("Short abandons"),
        _("Callers who hung up at once, and are not counted as lost."),
        ("short_abandoned",),
    ),
    Measure("left_otherwise", _("Left otherwise"), _("Left the line neither answered nor by hanging up."), ("left_otherwise",)),
    Measure("waiting", _("Still waiting"), _("In the line now."), ("waiting",)),
    _ratio(
        "abandon_rate",
        _("Abandonment"),
        _("The part of callers who hung up, of those who were answered or hung up."),
        ("abandoned",),
        ("answered", "abandoned"),
        better="less",
        variant=_("abandoned of answered and abandoned, as CCAIP; short abandons left out"),
    ),
    _ratio(
        "abandon_rate_offered",
        _("Abandonment of offered"),
        _("The part of all who entered the line that hung up, however soon."),
        _ALL_ABANDONED,
        ("offered",),
        better="less",
        variant=_("all abandoned of all queued, as Amazon Connect"),
    ),
    _ratio(
        "service_level",
        _("Service level"),
        _("The part of customers who were answered, or hung up, within the queue's target time."),
        ("answered_in_time", "abandoned_in_time"),
        ("answered", *_ALL_ABANDONED),
        better="more",
        variant=_("SL2: who hangs up in time counts as in time, as Asterisk's second service level"),
    ),
    _ratio(
        "service_level_answered",
        _("Service level of answered"),
        _("The part of answered customers who were answered within the queue's target time."),
        ("answered_in_time",),
        ("answered",),
        better="more",
        variant=_("SL: of the answered only, as Asterisk's first service level"),
    ),
    _ratio(
        "service_level_eligible",
        _("Service level of eligible"),
        _("The part answered within the queue's target time, of those answered or lost."),
        ("answered_in_time",),
        ("answered", "abandoned"),
        better="more",
        variant=_("answered in time of answered and abandoned; short abandons left out, later ones count against it"),
    ),
    _ratio(
        "asa",
        _("Average speed of answer"),
        _("How long those who were answered had waited in this line."),
        ("wait_answered",),
        ("answered",),
        "seconds",
        better="less",
        variant=_("abandoned left out; counted from entering the line"),
    ),
    _ratio(
        "asa_from_first",
        _("Wait since the first line"),
        _("How long those who were answered had waited altogether, in whatever line, call or chat."),
        ("place_wait_answered",),
        ("answered",),
        "seconds",
        better="less",
        variant=_("counted from the customer's first minute of waiting"),
    ),
    _ratio(
        "abandon_wait",
        _("Wait of the abandoned"),
        _("How long callers had waited when they hung up."),
        ("wait_abandoned",),
        _ALL_ABANDONED,
        "seconds",
        variant=_("short abandons included"),
    ),
    Measure(
        "longest_wait",
        _("Longest wait"),
        _("The longest stay in the line that began in the span."),
        ("longest_wait",),
        how="most",
        unit="seconds",
        better="less",
    ),
    Measure(
        "unanswered_rings",
        _("Rings not answered"),
        _("How often work rang at an agent in vain."),
        ("unanswered_rings",),
        better="less",
    ),
    Measure("handled", _("Handled"), _("Agents' parts in calls and chats that are over."), ("handled",)),
    Measure("handled_calls", _("Calls handled"), _("Agents' parts in calls that are over."), ("handled_calls",)),
    Measure("handled_chats", _("Chats handled"), _("Agents' parts in chats that are over."), ("handled_chats",)),
    Measure("going_on", _("Going on"), _("Calls and chats with an agent now."), ("going_on",)),
    _ratio(
        "aht",
        _("Average handle time of calls"),
        _("Talk, hold and wrap-up of a call."),
        ("talk", "hold", "wrap_up"),
        ("handled_calls",),
        "seconds",
        variant=_("talk + hold + wrap-up per handled call"),
    ),
    _ratio("talk", _("Average talk time"), _("Time on the phone with the caller."), ("talk",), ("handled_calls",), "seconds"),
    _ratio("hold", _("Average hold time"), _("Time in which the caller was on hold."), ("hold",), ("handled_calls",), "seconds"),
    _ratio(
        "acw",
        _("Average wrap-up (ACW)"),
        _("Time for the note after a call."),
        ("wrap_up",),
        ("handled_calls",),
        "seconds",
        variant=_("per handled call; the agent's wrap-up belongs to the call after which it began"),
    ),
    _ratio(
        "chat_aht",
        _("Average handle time of chats"),
        _("From accepting a chat to its end."),
        ("chat_time",),
        ("handled_chats",),
        "seconds",
        variant=_("open to close with one agent; no wrap-up, and several chats at once each count in full"),
    ),
    Measure(
        "first_response_p50",
        _("First response, median"),
        _("Half of the customers had an agent's first answer sooner than this."),
        ("first_response",),
        how="median",
        unit="seconds",
        better="less",
        variant=_("customer's first text of the chat to agent's first text; what the server says by itself is no answer"),
    ),
    Measure(
        "first_response_p90",
        _("First response, 90th percentile"),
        _("Nine in ten customers had an agent's first answer sooner than this."),
        ("first_response",),
        how="p90",
        unit="seconds",
        better="less",
        variant=_("as the median; nearest rank"),
    ),
    _ratio(
        "response_time",
        _("Average response time"),
        _("How long a customer's text waited for the agent's answer, the first one included."),
        ("response_time",),
        ("responses",),
        "seconds",
        better="less",
        variant=_("from the first text not answered yet"),
    ),
    Measure("transfers", _("Transfers"), _("Calls and chats that agents handed on."), ("transfers_started",)),
    Measure("transfers_completed", _("Transfers completed"), _("Transfers that somebody took."), ("transfers_completed",)),
    Measure("transfers_failed", _("Transfers failed"), _("Transfers that came back."), ("transfers_failed",), better="less"),
    _ratio(
        "transfer_rate",
        _("Transfer rate"),
        _("How many of the handled were handed on."),
        ("transfers_started",),
        ("handled",),
        better="less",
        variant=_("transfers begun per agent's part that is over"),
    ),
    Measure("missed", _("Missed"), _("Work that rang out at an agent."), ("missed",), better="less"),
    Measure("declined", _("Declined"), _("Work that an agent declined."), ("declined",), better="less"),
    Measure(
        "logged_in", _("Logged in"), _("Time in which agents were signed in and not offline."), ("logged_in",), unit="seconds"
    ),
    Measure("ready", _("Ready"), _("Time in which agents were ready, busy or not."), ("ready",), unit="seconds"),
    Measure(
        "not_ready",
        _("Not ready"),
        _("Time in which agents were on a break or otherwise not ready."),
        ("not_ready",),
        unit="seconds",
    ),
    Measure("busy", _("Busy"), _("Time with a call, a chat or wrap-up."), ("busy",), unit="seconds"),
    _ratio(
        "occupancy",
        _("Occupancy"),
        _("The part of an agent's time for work in which there was some."),
        ("busy",),
        ("busy", "idle"),
        variant=_("handling time of handling and ready time"),
    ),
    _ratio(
        "utilisation",
        _("Utilisation"),
        _("The part of the time logged in that went into work."),
        ("busy",),
        ("logged_in",),
        variant=_("handling time of time logged in"),
    ),
    _ratio(
        "concurrency",
        _("Concurrency"),
        _("How many chats an agent had at once, on average, while there was one."),
        ("chat_seconds",),
        ("chatting",),
        "number",
        variant=_("chat time through time with one chat or more"),
    ),
    Measure("sessions", _("Sessions"), _("Sessions that began, from either side."), ("sessions",)),
    Measure("contacts", _("Contacts"), _("Sessions that customers began."), ("contacts",)),
    Measure(
        "left_before_line",
        _("Left before a line"),
        _("Contacts that ended in the menu, with a deflection or with what a text said by itself."),
        ("left_before_line",),
    ),
    _ratio(
        "repeat_24h",
        _("Repeat contact, 24 h"),
        _("The part of contacts whose customer had begun another shortly before."),
        ("repeated_24h",),
        ("contacts",),
        better="less",
        variant=_("looking back 24 hours, whatever the queue"),
    ),
    _ratio(
        "repeat_7d",
        _("Repeat contact, 7 days"),
        _("The part of contacts whose customer had begun another in the week before."),
        ("repeated_7d",),
        ("contacts",),
        better="less",
        variant=_("looking back 7 days, whatever the queue"),
    ),
    Measure("offers_considered", _("Considered"), _("Times it was decided whether to offer texting."), ("offers_considered",)),
    Measure("offers_eligible", _("Eligible"), _("Callers who could have been offered texting."), ("offers_eligible",)),
    Measure(
        "offers_held_out",
        _("Held out"),
        _("Eligible callers who are not offered it, to compare with."),
        ("offers_held_out",),
    ),
    Measure("offers_made", _("Offers made"), _("Offers that were spoken."), ("offers_made",)),
    Measure("offers_accepted", _("Accepted"), _("Offers that were accepted."), ("offers_accepted",), better="more"),
    Measure("offers_delivered", _("Delivered"), _("Accepted offers whose text arrived."), ("offers_delivered",), better="more"),
    _ratio("offer_rate", _("Offer rate"), _("Offers made to eligible callers."), ("offers_made",), ("offers_eligible",)),
    _ratio(
        "acceptance",
        _("Acceptance"),
        _("The part of offers that was accepted; no answer is a refusal."),
        ("offers_accepted",),
        ("offers_made",),
        better="more",
    ),
    _ratio(
        "reach",
        _("Reach"),
        _("The part of accepted offers whose text arrived."),
        ("offers_delivered",),
        ("offers_accepted",),
        better="more",
    ),
    Measure("deflected", _("Deflected"), _("Callers who text instead."), ("deflected",), better="more"),
    _ratio(
        "containment",
        _("Containment"),
        _("The part of deflected callers who did not call again within 24 hours."),
        ("contained",),
        ("settled_deflected",),
        better="more",
        variant=_("of deflections 24 hours old; any call from the same number counts as calling again"),
    ),
    Measure("waits_told", _("Waits announced"), _("How often callers were told how long it takes."), ("waits_told",)),
    _ratio(
        "wait_coverage",
        _("Announcements kept"),
        _("The part of callers who were answered within the range they had been told."),
        ("waits_within",),
        ("waits_compared",),
        better="more",
        variant=_("of who was answered; who hung up could not be compared"),
    ),
    _ratio(
        "wait_bias",
        _("Announcement error"),
        _("How much longer it took than the middle of what was told."),
        ("wait_error",),
        ("waits_compared",),
        "seconds",
        variant=_("signed: negative when it was shorter"),
    ),
    _ratio(
        "wait_mae",
        _("Announcement error, absolute"),
        _("How far what was told was off, either way."),
        ("wait_error_size",),
        ("waits_compared",),
        "seconds",
        better="less",
        variant=_("mean absolute error against the middle of the range"),
    ),
    Measure("consents_given", _("Consents given"), _("Agreements that customers gave when asked."), ("consents_given",)),
    Measure("consents_refused", _("Consents refused"), _("Agreements that customers refused."), ("consents_refused",)),
    Measure("opted_out", _("Opt-outs"), _("Customers who asked for no more texts."), ("opted_out",), better="less"),
    Measure("opted_in", _("Opt-ins"), _("Customers who wanted texts again."), ("opted_in",)),
    Measure("texts_preset", _("Preset texts"), _("Ready-made texts that agents sent."), ("texts_preset",)),
    Measure("texts_custom", _("Custom texts"), _("Texts in the agents' own words."), ("texts_custom",)),
    Measure("texts_flow", _("Texts of flows"), _("Texts that calls sent by themselves."), ("texts_flow",)),
    Measure("texts_system", _("System texts"), _("Greetings, menus, warnings and owed answers."), ("texts_system",)),
    Measure("texts_api", _("Texts of programs"), _("Texts that came by the API or by mail."), ("texts_api",)),
    Measure("texts_sent", _("Texts sent"), _("All texts from us."), ("texts_sent",)),
    Measure("texts_received", _("Texts received"), _("All texts from customers."), ("texts_received",)),
    Measure("texts_delivered", _("Delivered texts"), _("Texts of ours that arrived."), ("texts_delivered",), better="more"),
    Measure("texts_failed", _("Failed texts"), _("Texts of ours that did not."), ("texts_failed",), better="less"),
    Measure("segments_sent", _("Segments sent"), _("What texts from us are charged by."), ("segments_sent",)),
    Measure("segments_received", _("Segments received"), _("What texts from customers are charged by."), ("segments_received",)),
    Measure(
        "cost",
        _("Cost of texts"),
        _("What the texts cost, by the price table of the settings."),
        ("cost",),
        unit="money",
        better="less",
        variant=_("segments times price; texts without a price are free"),
    ),
    Measure("callbacks_promised", _("Callbacks promised"), _("Callbacks that callers asked for."), ("callbacks_promised",)),
    _ratio(
        "callbacks_kept",
        _("Callbacks kept"),
        _("The part of callbacks that were first tried by the promised time."),
        ("callbacks_in_time",),
        ("callbacks_promised",),
        better="more",
        variant=_("first try within the promised window; without one, any try"),
    ),
)

MEASURES: Mapping[Name, Measure] = MappingProxyType({measure.id: measure for measure in _LIST})
"""Every figure by its id."""


class Report(msgspec.Struct, frozen=True):
    """A page of figures that belong together."""

    name: Name
    title: str
    words: str
    tiles: tuple[Name, ...]
    """What stands large at the top."""
    columns: tuple[Name, ...]
    """What stands in the table."""
    charts: tuple[tuple[Name, ...], ...]
    """What is drawn over time; figures that stand together are stacked or share an axis."""
    by: tuple[Dimension, ...]
    """What the table may be grouped by, the usual first."""


REPORTS: Mapping[Name, Report] = MappingProxyType(
    {
        report.name: report
        for report in (
            Report(
                "overview",
                _("Overview"),
                _("How the day goes: who came, who was answered, how quickly."),
                ("offered", "service_level", "asa", "abandon_rate", "first_response_p50", "contacts"),
                (
                    "contacts",
                    "offered",
                    "answered",
                    "abandoned",
                    "short_abandoned",
                    "left_otherwise",
                    "waiting",
                    "service_level",
                    "asa",
                    "abandon_rate",
                    "first_response_p50",
                    "repeat_24h",
                    "repeat_7d",
                    "deflected",
                ),
                (("answered", "abandoned", "short_abandoned", "left_otherwise", "waiting"), ("service_level",)),
                ("interval", "queue", "type", "channel"),
            ),
            Report(
                "queues",
                _("Queues"),
                _("Every line: who entered it, how long they waited, how it ended."),
                ("offered", "answered", "service_level", "asa", "longest_wait", "abandon_rate"),
                (
                    "offered",
                    "answered",
                    "abandoned",
                    "short_abandoned",
                    "left_otherwise",
                    "waiting",
                    "service_level",
                    "service_level_answered",
                    "service_level_eligible",
                    "asa",
                    "asa_from_first",
                    "longest_wait",
                    "abandon_wait",
                    "abandon_rate",
                    "abandon_rate_offered",
                    "unanswered_rings",
                    "handled",
                    "aht",
                    "talk",
                    "hold",
                    "acw",
                    "chat_aht",
                    "first_response_p50",
                    "first_response_p90",
                    "transfer_rate",
                ),
                (("answered", "abandoned", "short_abandoned", "left_otherwise", "waiting"), ("service_level",), ("asa",)),
                ("queue", "interval", "type", "channel"),
            ),
            Report(
                "agents",
                _("Agents and teams"),
                _("What agents handled, how long it took them, and how their time was used."),
                ("handled", "aht", "chat_aht", "occupancy", "concurrency", "first_response_p50"),
                (
                    "handled",
                    "handled_calls",
                    "handled_chats",
                    "going_on",
                    "aht",
                    "talk",
                    "hold",
                    "acw",
                    "chat_aht",
                    "first_response_p50",
                    "first_response_p90",
                    "response_time",
                    "concurrency",
                    "transfers",
                    "transfers_completed",
                    "transfers_failed",
                    "transfer_rate",
                    "missed",
                    "declined",
                    "texts_preset",
                    "texts_custom",
                    "logged_in",
                    "ready",
                    "not_ready",
                    "busy",
                    "occupancy",
                    "utilisation",
                ),
                (("handled_calls", "handled_chats"), ("occupancy", "utilisation")),
                ("agent", "team", "interval", "queue", "type", "channel"),
            ),
            Report(
                "messages",
                _("Texts"),
                _("Texts by who wrote them, what became of them, and what they cost."),
                ("texts_sent", "texts_received", "texts_preset", "texts_custom", "segments_sent", "cost"),
                (
                    "texts_preset",
                    "texts_custom",
                    "texts_flow",
                    "texts_system",
                    "texts_api",
                    "texts_sent",
                    "texts_received",
                    "texts_delivered",
                    "texts_failed",
                    "segments_sent",
                    "segments_received",
                    "cost",
                ),
                (("texts_preset", "texts_custom", "texts_flow", "texts_system", "texts_api"), ("texts_received",), ("cost",)),
                ("type", "interval", "queue", "agent", "team"),
            ),
            Report(
                "offers",
                _("Offers of texting"),
                _("From the decision to the delivered text, and whether the caller called again."),
                ("offers_eligible", "offer_rate", "acceptance", "reach", "deflected", "containment"),
                (
                    "offers_considered",
                    "offers_eligible",
                    "offers_held_out",
                    "offers_made",
                    "offers_accepted",
                    "offers_delivered",
                    "offer_rate",
                    "acceptance",
                    "reach",
                    "deflected",
                    "containment",
                ),
                (("offers_made", "offers_accepted", "offers_delivered"), ("acceptance", "containment")),
                ("interval", "queue"),
            ),
            Report(
                "waits",
                _("Announced waits"),
                _("What callers were told about the wait, and what it was."),
                ("waits_told", "wait_coverage", "wait_bias", "wait_mae"),
                ("waits_told", "wait_coverage", "wait_bias", "wait_mae", "asa", "longest_wait"),
                (("wait_coverage",), ("wait_bias", "wait_mae")),
                ("interval", "queue"),
            ),
            Report(
                "agreements",
                _("Agreements and callbacks"),
                _("What customers agreed to, who wants no more texts, and whether promises were kept."),
                ("consents_given", "consents_refused", "opted_out", "opted_in", "callbacks_promised", "callbacks_kept"),
                ("consents_given", "consents_refused", "opted_out", "opted_in", "callbacks_promised", "callbacks_kept"),
                (("opted_out", "opted_in"),),
                ("interval", "queue", "type"),
            ),
        )
    }
)
"""Every report by its name."""
