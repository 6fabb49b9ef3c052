"""Counters and durations for Prometheus; those of several worker processes are added up."""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from .settings import METRICS_VARIABLE

BOUNDS_IN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


disable_created_metrics()  # the time of each counter's creation is not needed


class Metrics:
    """What is counted in one worker process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "triptych_requests",
            "Requests that were answered, by protocol and HTTP status.",
            ["protocol", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "triptych_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["protocol"],
            buckets=BOUNDS_IN_SECONDS,
            registry=self.registry,
        )
        self.predictions = Counter(
            "triptych_predictions",
            "Requests whose images were classified, by model and version.",
            ["model", "version"],
            registry=self.registry,
        )
        self.reloads = Counter(
            "triptych_reloads",
            "Run folders that have changed, by model, version and outcome (loaded or refused).",
            ["model", "version", "outcome"],
            registry=self.registry,
        )

    def render(self) -> bytes:
        """Return the metrics of all workers in Prometheus's text format."""
        if METRICS_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)
        return generate_latest(shared)
