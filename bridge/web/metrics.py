"""What the web counts. Labels are bounded: route patterns and reasons, never numbers or ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class WebMetrics:
    """The web's counters in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "sidetone_http_requests_total",
            "HTTP requests answered, by route pattern, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "sidetone_http_request_seconds",
            "Time to answer an HTTP request, without websockets.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 8.0),
            registry=registry,
        )
        self.webhooks_refused = Counter(
            "sidetone_webhooks_refused_total",
            "Webhook requests refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.webhook_repeats = Counter(
            "sidetone_webhook_repeats_total",
            "Inbound texts that had already been kept (the provider asked twice).",
            registry=registry,
        )
        self.websockets = Gauge(
            "sidetone_websockets",
            "Websockets open now, by page.",
            ["page"],
            registry=registry,
        )
