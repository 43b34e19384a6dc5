"""Which session a call leg belongs to, and which provider carries it."""

from collections.abc import Callable, Mapping

import structlog

from bridge import events as e
from bridge.session import State
from bridge.telephony.provider import CallProvider
from sms.numbers import mask

log = structlog.get_logger()


class Carriers:
    """The call legs of this node.

    Args:
        providers: By name; a session keeps the name of the one that brought its call.
        post: Tells a session what has happened, and does not wait.
    """

    def __init__(self, providers: Mapping[str, CallProvider], post: Callable[[e.SessionId, e.AnyEvent], None]) -> None:
        self._providers = providers
        self._post = post
        self._sessions: dict[e.LegId, e.SessionId] = {}
        self._placed: dict[e.LegId, CallProvider] = {}
        """Who carries calls that we make."""

    def belongs(self, leg: e.LegId, session: e.SessionId) -> None:
        """What happens to *leg* from now on is for this session."""
        self._sessions[leg] = session

    def session_of(self, leg: e.LegId) -> e.SessionId | None:
        """Whose leg it is; None: nobody's."""
        return self._sessions.get(leg)

    def disown(self, leg: e.LegId) -> None:
        """What still happens to it is for nobody: its session is over, or another node's."""
        self._sessions.pop(leg, None)

    def forget(self, leg: e.LegId) -> None:
        """It has ended: nothing more happens to it."""
        self._sessions.pop(leg, None)
        self._placed.pop(leg, None)

    def reaches(self, number: str) -> bool:
        """Whether some provider of ours has a way to *number* (E.164)."""
        return any(provider.reaches(number) for provider in self._providers.values())

    async def refuse(self, call: e.CallArrived, status: int) -> None:
        """Do not take a call (a SIP status)."""
        await self._providers[call.provider].perform(e.RefuseCall(call.leg, status))

    async def perform(self, state: State, command: e.CallCommand) -> None:
        """Let whoever carries the leg do what the session wants; a provider that breaks is written down and nothing more."""
        if isinstance(command, e.OpenCall):
            carrier = next((each for each in self._providers.values() if each.reaches(command.number)), None)
            if carrier is None:
                log.warning("call.no_way", number=mask(command.number))
                self._post(state.id, e.CallEnded(command.leg, "platform", "404"))
                return
            self._placed[command.leg] = carrier
        provider = self._placed.get(command.leg) or self._providers.get(state.provider or "")
        if provider is None:
            log.error("call.no_provider", provider=state.provider)
            return
        if isinstance(command, e.ConnectAgent | e.OpenCall):
            self.belongs(command.leg, state.id)
        try:
            await provider.perform(command)
        except Exception:
            # What else the session asked for is done all the same; the call ends by its own rules.
            log.exception("call.command_failed", command=type(command).__name__)
