"""`/healthz`, `/readyz` and `/metrics`."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from bridge.web.ports import Records


class Health:
    """What an orchestrator and Prometheus ask."""

    def __init__(self, records: Records, registry: CollectorRegistry) -> None:
        self._records = records
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """The three routes."""
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
        ]

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        # A balancer of the web asks for texts alone: those are kept while no calls are taken, if only they are let in.
        ready, why = self._records.ready(calls=request.query.get("for") != "texts")
        if ready:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not_ready", "reason": why}, status=503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
