"""What the server counts, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper ends of the latency histogram, seconds."""


class Metrics:
    """Counters of one server, in a registry of its own.

    Example:
        >>> metrics = Metrics()
        >>> metrics.requests.labels("answered").inc()
        >>> 'eyehand_requests_total{outcome="answered"} 1.0' in metrics.text().decode()
        True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "eyehand_requests",
            "Messages, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "eyehand_latency_seconds",
            "From a whole message to its answer",
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "eyehand_batch_robots",
            "Robots in one call of the policy",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.clients = Gauge("eyehand_clients", "Connected clients", registry=self.registry)
        self.queue = Gauge("eyehand_queue", "Observations that wait", registry=self.registry)
        self.clipped = Counter(
            "eyehand_clipped_actions",
            "Numbers of actions that were clipped",
            registry=self.registry,
        )
        self.closed = Counter(
            "eyehand_closed_connections",
            "Connections that were closed because they took too long or too much, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.stopped = Counter(
            "eyehand_stopped_episodes", "Episodes that the watchdog stopped", registry=self.registry
        )

    def text(self) -> bytes:
        """Return the page for ``/metrics``."""
        return generate_latest(self.registry)
