"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Column = tuple[str, str, str]  # field, heading, format


def grid(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str:
    """One line a row, columns aligned; the first column to the left."""
    cells = [[heading for _, heading, _ in columns]]
    cells += [
        [format(row[field], form) if row[field] is not None else "-" for field, _, form in columns] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


PREDICTION: Sequence[Column] = (
    ("predictor", "predictor", "s"), ("top1", "top-1", ".3f"), ("top3", "top-3", ".3f"),
    ("recall_1", "recall, batch 1", ".3f"), ("precision_1", "precision", ".3f"),
    ("recall_8", "recall, batch 8", ".3f"), ("precision_8", "precision", ".3f"),
    ("loaded_over_needed_8", "loaded/needed", ".2f"),
)  # fmt: skip
HITS: Sequence[Column] = (
    ("batch", "batch", "d"), ("slots", "slots", "d"), ("lru", "lru", ".3f"), ("global-lru", "global-lru", ".3f"),
    ("lfu", "lfu", ".3f"), ("static", "static", ".3f"), ("values", "values", ".3f"), ("belady", "belady", ".3f"),
    ("lru_shuffled", "lru, shuffled", ".3f"),
)  # fmt: skip
DECODING: Sequence[Column] = (
    ("policy", "policy", "s"), ("predictor", "predictor", "s"), ("slots", "slots", "d"),
    ("loads_per_visit", "loads a visit", "g"), ("tokens_per_s", "tokens/s", ".0f"), ("speed_over_lru", "/ lru", ".2f"),
    ("hit_share", "hits", ".3f"), ("stall_share", "stalled", ".2f"), ("moved_bytes", "bytes moved", ",.0f"),
    ("bytes_over_lru", "/ lru", ".2f"), ("wasted_bytes", "wasted", ",.0f"), ("recall", "recall", ".2f"),
    ("precision", "precision", ".2f"), ("loaded_over_needed", "loaded/needed", ".2f"), ("identical", "identical", ""),
)  # fmt: skip
SCHEDULING: Sequence[Column] = (
    ("schedule", "schedule", "s"), ("slots", "slots", "d"), ("loads_per_visit", "loads a visit", "g"),
    ("active", "active experts", ".2f"), ("active_over_none", "/ none", ".3f"), ("tokens_per_s", "tokens/s", ".0f"),
    ("speed_over_none", "/ none", ".3f"), ("identical", "identical", ""),
)  # fmt: skip
