"""Who works here."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.events import AgentId
from bridge.runner import Runner
from bridge.settings import AgentSettings
from bridge.web.ports import Agent

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")
"""Checked for logins that do not exist, so that a wrong name takes as long as a wrong password."""


class Staff:
    """The people of the settings, and those who have left them with work in hand.

    Args:
        runner: Where the settings and the floor are.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.known: dict[AgentId, AgentSettings] = {}

    def take_settings(self) -> None:
        """Know the people of the settings, and those who still have work in hand."""
        leaving = self._runner.floor.acd.leaving
        staying = {agent: known for agent, known in self.known.items() if agent in leaving}
        self.known = staying | {AgentId(agent.id): agent for agent in self._runner.settings.agents}

    async def sign_in(self, login: str, password: str) -> Agent | None:
        """None for a wrong login or password; both take the same time."""
        settings = self.known.get(AgentId(login))
        secret = settings.password_hash if settings is not None else None
        stored = secret.get_secret_value() if secret is not None else _NOBODY
        try:
            await asyncio.to_thread(_HASHER.verify, stored, password)
        except (VerificationError, InvalidHashError):
            return None
        return _agent(settings) if settings is not None and secret is not None else None

    def agent(self, agent: AgentId) -> Agent | None:
        """None when there is no such agent."""
        settings = self.known.get(agent)
        if settings is None or (settings not in self._runner.settings.agents and agent not in self._runner.floor.acd.agents):
            return None  # or has left us, with the last piece of work
        return _agent(settings)

    def name(self, agent: AgentId) -> str:
        """What the agent is called; the login of one who is not known."""
        settings = self.known.get(agent)
        return agent if settings is None else settings.name

    def queue_title(self, queue: str) -> str:
        """What agents call a queue."""
        settings = self._runner.floor.queues.get(queue)
        return (settings.title if settings is not None else "") or queue.replace("_", " ").capitalize()


def _agent(settings: AgentSettings) -> Agent:
    return Agent(AgentId(settings.id), settings.name, settings.queues, settings.roles)
