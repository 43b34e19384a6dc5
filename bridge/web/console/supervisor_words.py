"""The words of the supervisor's pages: states, waits, reasons and what each figure means. Pure but for the reader's language."""

from collections.abc import Callable, Mapping

from bridge.alerts import Alert
from bridge.board import AgentRow, QueueRow
from bridge.web.console.timeline import duration
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked, ngettext


def state_words(row: AgentRow) -> str:
    """What an agent is doing, in a word or two."""
    if row.ringing:
        return _("Ringing")
    if row.calls:
        return _("On a call")
    if row.state == "ready" and row.chats:
        return _("In chats")
    return {"ready": _("Ready"), "not_ready": _("Not ready"), "wrap_up": _("Wrap-up"), "offline": _("Off duty")}[row.state]


def wait_words(row: QueueRow) -> tuple[str, str]:
    """What a newcomer will wait (half less than the first figure, nine of ten less than the second), and on what basis."""
    if row.status == "free_agent":
        return _("none"), _("Somebody is free now.")
    if row.status == "degraded" or row.p50 is None or row.p90 is None:
        return "?", _("Not known: there is too little to go by.")
    words = _("%(low)s to %(high)s", low=_minutes(row.p50), high=_minutes(row.p90))
    if row.status == "no_agents":
        return words, _("Nobody works this queue. This holds a guess how long that lasts.")
    basis = {
        "prior": _("a first guess: hardly anybody has been served yet"),
        "learned": _("learned from what was served"),
        "plan": _("with the planned staff"),
    }.get(row.basis, row.basis)
    ahead = _("%(ahead)s ahead", ahead=f"{row.ahead or 0:.0f}")
    places = ngettext("%(n)s place of work", "%(n)s places of work", row.capacity or 0)
    return words, f"{ahead}, {places}; {basis}"


def _minutes(seconds: float) -> str:
    return duration(round(seconds)) if seconds < 60 else _("%(n)s min", n=max(1, round(seconds / 60)))


def alert_words(alert: Alert, subject: Callable[[str, str], str]) -> str:
    """What is not as it should be."""
    measure, unit = _MEASURES.get(alert.measure, (alert.measure, "number"))
    about = subject(alert.on, alert.subject)
    where = f"{about}: " if about else ""
    return f"{where}{_(measure)} {_figure(alert.value, unit)}"


def _figure(value: float, unit: str) -> str:
    if unit == "seconds":
        return duration(round(value))
    return f"{value:.0%}" if unit == "share" else f"{value:g}"


_MEASURES: Mapping[str, tuple[str, str]] = {
    "waiting": (marked("waiting"), "number"),
    "longest_wait": (marked("longest wait"), "seconds"),
    "service_level": (marked("service level"), "share"),
    "ewt_p90": (marked("expected wait up to"), "seconds"),
    "abandoned": (marked("abandoned"), "number"),
    "agents_ready": (marked("agents ready"), "number"),
    "open_slots": (marked("open places"), "number"),
    "state_for": (marked("in the same state for"), "seconds"),
    "missed": (marked("missed"), "number"),
    "unanswered": (marked("a customer waits for an answer for"), "seconds"),
    "texts_failed": (marked("texts failed"), "number"),
    "calls": (marked("calls"), "number"),
    "sessions": (marked("conversations"), "number"),
    "dead_letters": (marked("hooks given up"), "number"),
    "calibration": (marked("queues with estimates that are off"), "number"),
}


def start_words(start: str) -> str:
    """How an agent came by a session."""
    return {
        "manual": _("Accepted"),
        "auto": _("Given without ringing"),
        "outbound": _("Begun by us"),
        "api": _("Begun by a program"),
    }.get(start, "")


def trouble_words(trouble: str) -> str:
    """What a supervisor should see of a session."""
    return {
        "opted_out": _("Opted out"),
        "suspected": _("Perhaps opted out"),
        "transfer_failed": _("Transfer came back"),
        "text_failed": _("Text failed"),
    }.get(trouble, trouble.replace("_", " "))


def standing_words(standing: str) -> str:
    """Why an agent has not been asked, or is."""
    return {
        "ringing": _("It rings there"),
        "may_be_asked": _("May be asked"),
        "no_room": _("Has no room for it"),
        "not_ready": _("Is not ready"),
        "not_skilled": _("Lacks a skill"),
        "asked_later": _("Is asked later"),
        "refused": _("Declined it, or let it ring, a moment ago"),
        "other_preferred": _("Somebody else is asked first"),
    }.get(standing, standing.replace("_", " "))


_REASONS: Mapping[str, str] = {
    "offer": marked("The wait is long enough to be worth it."),
    "always": marked("The queue always offers."),
    "overcapacity": marked("There are far too many callers."),
    "no_agents": marked("Nobody works the queue."),
    "below_threshold": marked("The wait is not long enough to be worth it."),
    "agent_free": marked("An agent is free."),
    "wait_unknown": marked("How long the wait is was not known."),
    "disabled": marked("The queue never offers."),
    "number_withheld": marked("The number is withheld."),
    "opted_out": marked("The number has opted out of texts."),
    "cannot_text": marked("The number cannot take texts."),
    "refused_before": marked("The caller has refused before."),
    "asked_before": marked("The caller has been asked already."),
    "agent_coming": marked("It rang at an agent's desk already."),
    "almost_there": marked("The caller was almost at the front."),
    "no_desk": marked("The queue has no desk for texts."),
    "sms_unstaffed": marked("Nobody answers texts."),
    "sms_over_capacity": marked("Texters would wait too long."),
    "sms_not_faster": marked("Texting would not have been faster."),
    "sms_closed": marked("The desk for texts is closed."),
    "enough_this_minute": marked("Enough callers were offered it within the minute."),
    "held_out": marked("The call belongs to those that are offered nothing, to compare with."),
}


def reason_words(reason: str) -> str:
    """Why texting was offered, or was not."""
    return _(_REASONS[reason]) if reason in _REASONS else reason.replace("_", " ").capitalize()


_FIGURES: Mapping[str, tuple[str, str]] = {
    "name": (marked("Agent"), marked("Name and teams.")),
    "state": (marked("State"), marked("What the agent is doing, and the reason given for not being ready.")),
    "since": (
        marked("Since"),
        marked("How long it has been so. Yellow after 30 minutes in the same state, red after 60."),
    ),
    "load": (marked("Working on"), marked("The call and the chats in hand, and how many chats at once are allowed.")),
    "answered": (marked("Answered"), marked("Calls and chats that an agent had, today.")),
    "missed": (marked("Missed"), marked("How often it rang out at the desk, today. Declined work is not in it.")),
    "aht": (
        marked("Handling"),
        marked("Average time from joining a customer to leaving, today: talk and hold, or the chat. Wrap-up is not in it."),
    ),
    "title": (marked("Queue"), marked("A line of waiting customers.")),
    "waiting": (marked("Waiting"), marked("Customers in line now, and the curve of the last hour: the most in each minute.")),
    "oldest": (marked("Longest"), marked("How long the first in line has waited, from their first minute on whatever leg.")),
    "ewt": (
        marked("Expected wait"),
        marked("Of who comes now: half wait less than the first figure, nine of ten less than the second."),
    ),
    "level": (
        marked("Service level"),
        marked(
            "Today: (answered in time + hung up in time) / (answered + hung up), the SL2 of the reports. In time is what the "
            "target says."
        ),
    ),
    "offered": (marked("Offered"), marked("Customers who came into this line today, also by transfer.")),
    "abandoned": (
        marked("Hung up"),
        marked("Callers who hung up in the line today. Small: those who did so sooner than the short-abandon time."),
    ),
    "ready": (
        marked("Agents"),
        marked("Who could be offered work of this queue now, of those who are here; and open places for work."),
    ),
    "offers": (
        marked("Texting offered"),
        marked("Callers who were offered to text, who agreed, and whose text arrived, today."),
    ),
    "customer": (marked("Customer"), marked("Who it is, as far as we know.")),
    "queue": (marked("Queue"), marked("The line it stands in, or came from.")),
    "agent": (marked("Agent"), marked("Who has it; the call first.")),
    "unanswered": (marked("Answer due"), marked("How long the customer has waited for an answer by text.")),
    "states": (marked("Call and texts"), marked("Where the call is, and where the texts are.")),
    "began": (marked("Began"), marked("How the conversation began, and how the agent came by it.")),
}


def figure_words() -> dict[str, tuple[str, str]]:
    """The title and the meaning of every column."""
    return {name: (_(title), _(meaning)) for name, (title, meaning) in _FIGURES.items()}


def definitions() -> list[tuple[str, str]]:
    """The meaning of every figure, for the page that lists them."""
    return sorted(set(figure_words().values()))
