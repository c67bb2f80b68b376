"""What the benchmark makes of its measurements: ratios with their spread, and the table."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADER = (
    *("case", "peer", "ours s", "peer s", "ratio (spread)", "GFLOP/s ours / peer"),
    *("of peak", "memory MB ours / peer", "accuracy ours / peer", "target", "reached"),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One side of a case, once.

    Attributes:
        seconds: wall time of the work; imports and the making of data are not in it.
        flops: arithmetic that the work needs on real lengths, 0 where it is not counted. Padding
            adds time and no arithmetic, so it shows as a lower rate.
        peak_bytes: memory at the most beyond what was there when the work began; on CUDA, of it.
        accuracy: on the test rows, None where nothing is learnt.
    """

    seconds: float
    flops: float = 0.0
    peak_bytes: int = 0
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a case is to reach: a least speed-up (peer / ours), or a most cost (ours / peer)."""

    least: float | None = None
    most: float | None = None

    def told(self) -> str:
        """The target in a cell of the table."""
        if self.least is not None:
            return f"≥ {self.least:g} x"
        return "reported" if self.most is None else f"time ≤ {self.most:g}"

    def reached(self, ratio: float) -> bool | None:
        """Whether a ratio reaches it; None if nothing is asked."""
        if self.least is not None:
            return ratio >= self.least
        return None if self.most is None else ratio <= self.most


@dataclass(frozen=True, kw_only=True)
class Row:
    """A case of the table: medians of its repeats, and the ratio of each pair of them.

    Attributes:
        case, peer: names.
        ours_s, peer_s: median wall times.
        ratio: median of the paired ratios: peer / ours, or ours / peer where the target is a most.
        low, high: the least and the greatest of the paired ratios.
        n: pairs.
        ours_flops, peer_flops: medians per second, on real lengths; 0 where not counted.
        ours_share, peer_share: of the measured peak.
        ours_bytes, peer_bytes: the greatest peaks of memory.
        ours_accuracy, peer_accuracy: means, or None.
        target: what is asked.
        reached: None if nothing is asked.
    """

    case: str
    peer: str
    ours_s: float
    peer_s: float
    ratio: float
    low: float
    high: float
    n: int
    ours_flops: float
    peer_flops: float
    ours_share: float
    peer_share: float
    ours_bytes: int
    peer_bytes: int
    ours_accuracy: float | None
    peer_accuracy: float | None
    target: str
    reached: bool | None


def row(
    case: str,
    peer: str,
    ours: Sequence[Measured],
    theirs: Sequence[Measured],
    *,
    target: Target,
    peak_flops: float,
) -> Row:
    """The table's row of a case.

    Args:
        case: its name.
        peer: the other side's.
        ours, theirs: the repeats, in the order in which they took turns: pair i is measured at
            about one time, so its ratio does not see what else the machine did at another.
        target: what is to be reached.
        peak_flops: of a matrix product on this device, per second.
    """
    ratios = [
        our.seconds / other.seconds if target.most is not None else other.seconds / our.seconds
        for our, other in zip(ours, theirs, strict=True)
    ]
    ratio = statistics.median(ratios)
    rates = [statistics.median(m.flops / m.seconds for m in side) for side in (ours, theirs)]
    return Row(
        case=case,
        peer=peer,
        ours_s=statistics.median(m.seconds for m in ours),
        peer_s=statistics.median(m.seconds for m in theirs),
        ratio=ratio,
        low=min(ratios),
        high=max(ratios),
        n=len(ratios),
        ours_flops=rates[0],
        peer_flops=rates[1],
        ours_share=rates[0] / peak_flops,
        peer_share=rates[1] / peak_flops,
        ours_bytes=max(m.peak_bytes for m in ours),
        peer_bytes=max(m.peak_bytes for m in theirs),
        ours_accuracy=_mean(ours),
        peer_accuracy=_mean(theirs),
        target=target.told(),
        reached=target.reached(ratio),
    )


def together(parts: Sequence[Measured]) -> Measured:
    """Several measurements as one: their sum of seconds and arithmetic, their greatest memory."""
    return Measured(
        seconds=sum(part.seconds for part in parts),
        flops=sum(part.flops for part in parts),
        peak_bytes=max(part.peak_bytes for part in parts),
        accuracy=_mean(parts),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADER, ["---"] * len(HEADER), *(_cells(found) for found in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows, fit for JSON."""
    return [asdict(found) for found in rows]


def _cells(found: Row) -> list[str]:
    counted = found.ours_flops > 0
    rates = f"{found.ours_flops / 1e9:.0f} / {found.peer_flops / 1e9:.0f}" if counted else ""
    share = f"{found.ours_share:.0%} / {found.peer_share:.0%}" if counted else ""
    memory = [f"{n / 1e6:.0f}" for n in (found.ours_bytes, found.peer_bytes)]
    accuracies = (found.ours_accuracy, found.peer_accuracy)
    learnt = [f"{100 * a:.1f}" for a in accuracies if a is not None]
    return [
        *(found.case, found.peer, f"{found.ours_s:.3g}", f"{found.peer_s:.3g}"),
        f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})",
        *(rates, share),
        " / ".join(memory) if any(accuracies) or found.ours_bytes else "",
        " / ".join(learnt),
        found.target,
        "" if found.reached is None else ("yes" if found.reached else "NO"),
    ]


def _mean(side: Sequence[Measured]) -> float | None:
    known = [m.accuracy for m in side if m.accuracy is not None]
    return statistics.mean(known) if known else None
