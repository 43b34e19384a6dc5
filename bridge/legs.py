"""What may follow what: the two legs of a session as tables.

Everything that moves a leg is in here and nowhere else; the diagrams in `docs/architecture.md` are drawn from these
tables (`python -m bridge.diagram`). A row's key is something that happened (an event) or something we do (a command, or
what a flow says about its invitation to text); what is not in the row of a state can not happen in it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from bridge import events as e
from ivr_flows import outputs as o


class CallState(StrEnum):
    """Where the caller's leg is."""

    NONE = "none"
    RINGING = "ringing"
    IN_FLOW = "in_flow"
    QUEUED = "queued"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ENDING = "ending"
    ENDED = "ended"


class TextLeg(StrEnum):
    """Where the text leg is."""

    NONE = "none"
    OPEN = "open"
    INVITED = "invited"
    CHOOSING = "choosing"
    QUEUED = "queued"
    CHATTING = "chatting"
    DISMISSED = "dismissed"
    CLOSED = "closed"
    OPTED_OUT = "opted_out"


Kind: TypeAlias = type[e.Event] | type[e.Command] | type[o.Output]
"""What moves a leg: an event, a command of ours, or what a flow says about its invitation to text."""


def _table(rows: dict[Any, dict[Kind, Any]]) -> Mapping[Any, Mapping[Kind, Any]]:
    return MappingProxyType({state: MappingProxyType(row) for state, row in rows.items()})


CALL: Mapping[CallState, Mapping[Kind, CallState]] = _table(
    {
        CallState.NONE: {e.CallArrived: CallState.RINGING},
        CallState.RINGING: {
            e.AnswerCall: CallState.IN_FLOW,
            e.RefuseCall: CallState.ENDED,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.IN_FLOW: {
            e.DigitsReceived: CallState.IN_FLOW,
            e.PromptFinished: CallState.IN_FLOW,
            e.OfferDecided: CallState.IN_FLOW,
            e.JoinQueue: CallState.QUEUED,
            e.HangUp: CallState.ENDING,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.QUEUED: {
            e.DigitsReceived: CallState.QUEUED,
            e.PromptFinished: CallState.QUEUED,
            e.OfferDecided: CallState.QUEUED,
            e.AgentOffered: CallState.QUEUED,
            e.OfferLapsed: CallState.QUEUED,
            e.AgentAccepted: CallState.CONNECTING,
            e.LeaveQueue: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.CONNECTING: {
            e.DigitsReceived: CallState.CONNECTING,
            e.PromptFinished: CallState.CONNECTING,
            e.OfferDecided: CallState.CONNECTING,
            e.AgentHungUp: CallState.CONNECTING,
            e.AgentLegAnswered: CallState.CONNECTED,
            e.AgentLegFailed: CallState.QUEUED,
            e.LeaveQueue: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.CONNECTED: {
            e.DigitsReceived: CallState.CONNECTED,
            e.PromptFinished: CallState.CONNECTED,
            e.AudioConnected: CallState.CONNECTED,
            e.AgentHungUp: CallState.CONNECTED,
            e.AgentLegEnded: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.ENDING: {
            e.DigitsReceived: CallState.ENDING,
            e.PromptFinished: CallState.ENDING,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.ENDED: {},
    }
)
"""Call leg: state, then what happens or what we do, then the next state."""

TEXT: Mapping[TextLeg, Mapping[Kind, TextLeg]] = _table(
    {
        TextLeg.NONE: {
            e.SendText: TextLeg.OPEN,
            e.TextArrived: TextLeg.OPEN,
            e.ApiSaid: TextLeg.INVITED,
            e.AgentOpened: TextLeg.CHATTING,
            e.OptOut: TextLeg.OPTED_OUT,
        },
        TextLeg.OPEN: {
            e.SendText: TextLeg.OPEN,
            e.TextArrived: TextLeg.OPEN,
            e.ApiSaid: TextLeg.INVITED,
            o.OpenText: TextLeg.INVITED,
            e.OfferMenu: TextLeg.CHOOSING,
            e.JoinQueue: TextLeg.QUEUED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.INVITED: {
            e.SendText: TextLeg.INVITED,
            e.TextArrived: TextLeg.INVITED,
            e.ApiSaid: TextLeg.INVITED,
            o.OpenText: TextLeg.INVITED,
            o.WithdrawText: TextLeg.OPEN,
            e.JoinQueue: TextLeg.QUEUED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.CHOOSING: {
            e.SendText: TextLeg.CHOOSING,
            e.TextArrived: TextLeg.CHOOSING,
            e.ApiSaid: TextLeg.CHOOSING,
            e.OfferMenu: TextLeg.CHOOSING,
            e.JoinQueue: TextLeg.QUEUED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.QUEUED: {
            e.SendText: TextLeg.QUEUED,
            e.TextArrived: TextLeg.QUEUED,
            e.ApiSaid: TextLeg.QUEUED,
            e.AgentOffered: TextLeg.QUEUED,
            e.OfferLapsed: TextLeg.QUEUED,
            e.AgentAccepted: TextLeg.CHATTING,
            e.JoinQueue: TextLeg.QUEUED,
            e.OfferMenu: TextLeg.CHOOSING,
            e.ProcessRestarted: TextLeg.QUEUED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.CHATTING: {
            e.SendText: TextLeg.CHATTING,
            e.TextArrived: TextLeg.CHATTING,
            e.ApiSaid: TextLeg.CHATTING,
            e.AgentTransferred: TextLeg.QUEUED,
            e.AgentDismissed: TextLeg.DISMISSED,
            e.AgentEndedChat: TextLeg.CLOSED,
            e.AgentLost: TextLeg.QUEUED,
            e.ProcessRestarted: TextLeg.CHATTING,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.DISMISSED: {
            e.SendText: TextLeg.DISMISSED,
            e.TextArrived: TextLeg.DISMISSED,
            e.ApiSaid: TextLeg.DISMISSED,
            e.JoinQueue: TextLeg.QUEUED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.CLOSED: {
            e.SendText: TextLeg.CLOSED,
            e.TextArrived: TextLeg.OPEN,
            e.ApiSaid: TextLeg.INVITED,
            e.OptOut: TextLeg.OPTED_OUT,
        },
        TextLeg.OPTED_OUT: {e.SendText: TextLeg.OPTED_OUT, e.TextArrived: TextLeg.OPTED_OUT, e.OptIn: TextLeg.OPEN},
    }
)
"""Text leg: state, then what happens or what we do, then the next state."""

LIVE = frozenset({CallState.RINGING, CallState.IN_FLOW, CallState.QUEUED, CallState.CONNECTING, CallState.CONNECTED})
"""The caller is on the line and we have not said goodbye."""
