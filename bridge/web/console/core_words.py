"""What the rest of the server says in English, in the reader's language: refusals of the session, of the channel, of files."""

from collections.abc import Mapping
from types import MappingProxyType

from bridge.web.console.words import gettext as _
from bridge.web.console.words import language, marked

SAID = frozenset(
    {
        marked("The customer sent STOP. Texting opens again when they send START."),
        marked("The caller withheld the number, so there is nowhere to text."),
        marked("The customer may have asked for no more texts. Say first whether they did."),
        marked("You are not connected to this customer."),
        marked("This number cannot take texts."),
        marked("There is nothing to judge any more."),
        marked("The call is over."),
        marked("The caller is on the line: end the call."),
        marked("A chat can be put aside once both of you have written, and you last."),
        marked("This call has been handed on often enough. Please keep it."),
        marked("Whoever you asked has not answered yet."),
        marked("The call is on hold at your phone: take it off hold there."),
        marked("There is no number to call."),
        marked("There is no callback to make any more."),
        marked("That is not a telephone number."),
        marked("Short numbers and emergency numbers are not called from here."),
        marked("Numbers that cost extra are not called from here."),
        marked("Numbers there are not called from here (setting sip.may_call)."),
    }
)
"""Sentences of the session, and of who may be called, that are fit to show; whatever else it says is for engineers."""
_OF_THE_CHANNEL: Mapping[str, str] = MappingProxyType(
    {
        "opted_out": marked("%(number)s asked us to stop texting. Only a START of theirs opens it again."),
        "blocked": marked("%(number)s is on the blocklist."),
        "cannot_text": marked("%(number)s cannot receive texts; call it instead."),
        "no_consent": marked("%(number)s has not agreed to such texts."),
        "quiet_hours": marked("It is too early or too late where %(number)s is."),
        "in_conversation": marked("Somebody is in conversation with %(number)s now."),
        "unregistered_sender": marked("Carriers in the US refuse texts from this number of ours."),
        "not_your_number": marked("You may not write from this number of ours."),
    }
)
_OF_FILES: Mapping[str, str] = MappingProxyType(
    {
        "type": marked("Files of this type are not taken."),
        "broken": marked("The file is damaged."),
        "too_large": marked("The file is too large."),
        "too_many_pixels": marked("The picture has too many pixels."),
    }
)


def of_the_session(words: str) -> str:
    """Why the session did not do it, for an agent."""
    return _(words) if words in SAID else _("That is not possible any more: the conversation has moved on.")


def of_away() -> str:
    """Why it is not known whether something was done."""
    return _("The server that has this conversation does not answer. Look whether it was done, and try again.")


def of_the_channel(rule: str, words: str, number: str) -> str:
    """Why *number* cannot be texted; in English with all the particulars, which stand in *words*."""
    known = _OF_THE_CHANNEL.get(rule)
    return words if known is None or language() == "en" else _(known, number=number)


def of_files(reason: str) -> str:
    """Why a file was not taken."""
    return _(_OF_FILES.get(reason, _OF_FILES["type"]))
