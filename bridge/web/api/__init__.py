"""`/api/v1`: what programs may do. REST with bearer keys, idempotent requests, problem documents and a description of itself.

One table of operations makes both the routes and the description, so that neither can say what the other does not.
"""

from bridge.web.api.operation import Behind, Files, Texting
from bridge.web.api.service import Api

__all__ = ["Api", "Behind", "Files", "Texting"]
