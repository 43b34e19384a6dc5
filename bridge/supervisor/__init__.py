"""What supervisors see and do: live boards, actions on other people's work, messages, alerts, and why things went as they did."""

from bridge.supervisor.service import Supervisor

__all__ = ["Supervisor"]
