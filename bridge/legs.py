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
    HELD = "held"
    """The agent lets the caller wait."""
    CONSULTING = "consulting"
    """The agent has asked a colleague, or somebody outside; the caller waits, or whoever was asked."""
    CALLING_OUT = "calling_out"
    """A number outside rings that is to have the caller."""
    OUTSIDE = "outside"
    """The caller talks to somebody outside."""
    CALLBACK = "callback"
    """Nobody is on the line: the customer stands in it to be called back."""
    SUMMONING = "summoning"
    """The phone of the agent who is to talk to the customer rings."""
    DIALING = "dialing"
    """The customer's phone rings."""
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
        CallState.NONE: {
            e.CallArrived: CallState.RINGING,
            e.AgentCalled: CallState.SUMMONING,
            e.CallbackAsked: CallState.CALLBACK,
        },
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
            e.QueueRedirected: CallState.QUEUED,
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
            e.CallTransferred: CallState.CONNECTED,
            e.AgentHeld: CallState.HELD,
            e.PhoneHeld: CallState.HELD,
            e.AgentConsulted: CallState.CONSULTING,
            e.JoinQueue: CallState.QUEUED,
            e.ConnectAgent: CallState.CALLING_OUT,
            e.ReleaseAgent: CallState.OUTSIDE,
            e.AgentLegEnded: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.HELD: {
            e.DigitsReceived: CallState.HELD,
            e.PromptFinished: CallState.HELD,
            e.AudioConnected: CallState.HELD,
            e.AgentHungUp: CallState.HELD,
            e.CallTransferred: CallState.HELD,
            e.PhoneHeld: CallState.HELD,
            e.AgentResumed: CallState.CONNECTED,
            e.PhoneResumed: CallState.CONNECTED,
            e.AgentConsulted: CallState.CONSULTING,
            e.JoinQueue: CallState.QUEUED,
            e.ConnectAgent: CallState.CALLING_OUT,
            e.AgentLegEnded: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.CONSULTING: {
            e.DigitsReceived: CallState.CONSULTING,
            e.PromptFinished: CallState.CONSULTING,
            e.AudioConnected: CallState.CONSULTING,
            e.PhoneHeld: CallState.CONSULTING,
            e.PhoneResumed: CallState.CONSULTING,
            e.AgentSwapped: CallState.CONSULTING,
            e.AgentLegAnswered: CallState.CONSULTING,
            e.AgentLegFailed: CallState.CONNECTED,
            e.AgentTookBack: CallState.CONNECTED,
            e.AgentCompleted: CallState.CONNECTED,
            e.AgentLegEnded: CallState.CONNECTED,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.CALLING_OUT: {
            e.DigitsReceived: CallState.CALLING_OUT,
            e.PromptFinished: CallState.CALLING_OUT,
            e.AgentLegAnswered: CallState.OUTSIDE,
            e.AgentLegFailed: CallState.QUEUED,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.OUTSIDE: {
            e.DigitsReceived: CallState.OUTSIDE,
            e.PromptFinished: CallState.OUTSIDE,
            e.AudioConnected: CallState.OUTSIDE,
            e.AgentLegEnded: CallState.IN_FLOW,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.CALLBACK: {
            e.AgentOffered: CallState.CALLBACK,
            e.OfferLapsed: CallState.CALLBACK,
            e.QueueRedirected: CallState.CALLBACK,
            e.CallbackCancelled: CallState.CALLBACK,
            e.AgentAccepted: CallState.SUMMONING,
            e.CallbackStarted: CallState.SUMMONING,
            e.CallArrived: CallState.RINGING,
            e.LeaveQueue: CallState.ENDED,
            e.ProcessRestarted: CallState.CALLBACK,
        },
        CallState.SUMMONING: {
            e.AgentHungUp: CallState.SUMMONING,
            e.AgentLegAnswered: CallState.DIALING,
            e.AgentLegFailed: CallState.ENDING,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.DIALING: {
            e.DigitsReceived: CallState.DIALING,
            e.AgentHungUp: CallState.DIALING,
            e.CustomerAnswered: CallState.CONNECTED,
            e.AgentLegEnded: CallState.ENDING,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.ENDING: {
            e.DigitsReceived: CallState.ENDING,
            e.PromptFinished: CallState.ENDING,
            e.CallEnded: CallState.ENDED,
            e.ProcessRestarted: CallState.ENDED,
        },
        CallState.ENDED: {
            e.CallArrived: CallState.RINGING,
            e.AgentCalled: CallState.SUMMONING,
            e.CallbackStarted: CallState.SUMMONING,
            e.CallbackCancelled: CallState.ENDED,
            e.JoinQueue: CallState.CALLBACK,
        },
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
            e.ChatCalledOff: TextLeg.CLOSED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.CHOOSING: {
            e.SendText: TextLeg.CHOOSING,
            e.TextArrived: TextLeg.CHOOSING,
            e.ApiSaid: TextLeg.CHOOSING,
            e.OfferMenu: TextLeg.CHOOSING,
            e.JoinQueue: TextLeg.QUEUED,
            e.ChatCalledOff: TextLeg.CLOSED,
            e.OptOut: TextLeg.OPTED_OUT,
            e.CloseSession: TextLeg.CLOSED,
        },
        TextLeg.QUEUED: {
            e.SendText: TextLeg.QUEUED,
            e.TextArrived: TextLeg.QUEUED,
            e.ApiSaid: TextLeg.QUEUED,
            e.AgentOffered: TextLeg.QUEUED,
            e.OfferLapsed: TextLeg.QUEUED,
            e.QueueRedirected: TextLeg.QUEUED,
            e.AgentAccepted: TextLeg.CHATTING,
            e.JoinQueue: TextLeg.QUEUED,
            e.OfferMenu: TextLeg.CHOOSING,
            e.ProcessRestarted: TextLeg.QUEUED,
            e.ChatCalledOff: TextLeg.CLOSED,
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
            e.ChatCalledOff: TextLeg.CLOSED,
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

TALKING = frozenset({CallState.CONNECTED, CallState.HELD, CallState.CONSULTING})
"""An agent has the call."""
LIVE = TALKING | {
    CallState.RINGING, CallState.IN_FLOW, CallState.QUEUED, CallState.CONNECTING, CallState.CALLING_OUT, CallState.OUTSIDE,
    CallState.SUMMONING, CallState.DIALING,
}  # fmt: skip
"""The customer is on the line, or is just being called, and we have not said goodbye."""
ON_LINE = LIVE - {CallState.SUMMONING, CallState.DIALING}
"""The customer is there already."""
NO_CALL = frozenset({CallState.NONE, CallState.CALLBACK, CallState.ENDED})
"""There is no call leg."""
