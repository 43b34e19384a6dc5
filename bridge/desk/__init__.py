"""The desk: what agents see and do, behind the console."""

from bridge.desk.service import Desk

__all__ = ["Desk"]
