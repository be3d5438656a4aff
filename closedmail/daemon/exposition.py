"""Write the text format of Prometheus, for `metrics_listen` and for node_exporter's textfile collector.

Source: prometheus.io/docs/instrumenting/exposition_formats. Samples have no timestamps: the collector refuses them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Family:
    """One metric: its samples are values by their labels. `what` is one sentence."""

    name: str
    kind: Literal["gauge", "counter"]
    what: str
    samples: list[tuple[dict[str, str], int]] = field(default_factory=list)

    def add(self, value: int, **labels: str) -> None:
        """Add a sample; its labels must differ from those of the others."""
        self.samples.append((labels, value))

    def lines(self) -> Iterator[str]:
        """Yield the lines of this metric; none where it has no sample."""
        if not self.samples:
            return
        yield f"# HELP {self.name} {_escaped(self.what)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            shown = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{shown}}} {value}" if shown else f"{self.name} {value}"


def exposition(families: Iterable[Family]) -> str:
    """Write the whole text."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
