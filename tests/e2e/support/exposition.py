"""A scrape of the metrics port, read with Prometheus's own parser."""

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from support.server import Server


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper bound, in the order in which they stand."""

    buckets: list[tuple[float, float]]
    count: float
    total: float


class Scrape:
    """All samples of one scrape."""

    def __init__(self, server: Server):
        response = server.metrics()
        assert response.status_code == 200
        self.families = {f.name: f for f in text_string_to_metric_families(response.text)}

    def samples(self, name: str, **labels: str) -> list:
        """The samples of exactly this name that have these labels."""
        # The parser speaks OpenMetrics: it puts this ending behind every counter's samples.
        names = (name, f"{name}_total")
        found = [s for family in self.families.values() for s in family.samples if s.name in names]
        return [s for s in found if labels.items() <= s.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of those samples."""
        return sum(sample.value for sample in self.samples(name, **labels))

    def histogram(self, name: str, **labels: str) -> Histogram:
        buckets = self.samples(f"{name}_bucket", **labels)
        return Histogram(
            [(float(sample.labels["le"]), sample.value) for sample in buckets],
            self.value(f"{name}_count", **labels),
            self.value(f"{name}_sum", **labels),
        )
