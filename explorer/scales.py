"""Scales: what the scores of a query are compared with, so that they read as percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, Float64


@dataclass(frozen=True, kw_only=True)
class OrdinaryScores:
    """The scores of random records with one query, for queries that random pairs of records are no scale for."""

    ascending: Float32[np.ndarray, " m"]

    @classmethod
    def of(cls, scores: Float32[np.ndarray, " m"]) -> OrdinaryScores:
        """The scale that these scores make, in any order."""
        import numpy as np

        return cls(ascending=np.sort(scores))

    def percentiles(self, scores: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The percentage of random records that score lower, in [0, 100], equal ones counting half."""
        import numpy as np

        below, upto = (np.searchsorted(self.ascending, scores, side=side) for side in ("left", "right"))
        result: Float64[np.ndarray, " n"] = 100 * (below + upto) / 2 / len(self.ascending)
        return result

    def score_at(self, percentile: float) -> float:
        """A score below which nothing reaches the percentile, as high as one is known."""
        import numpy as np

        share = max(percentile / 100 - 1 / len(self.ascending), 0.0)
        return float(np.quantile(self.ascending, share, method="lower")) if percentile > 0 else -1.0
