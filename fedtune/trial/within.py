"""The model of a baseline looked at between two of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from fedtune.federated.evaluation import Evaluation
from fedtune.federated.flat import FlatModel, digest
from fedtune.federated.local import Seen

#: From a round to the working model's evaluation on each split.
Score = Callable[[int], Iterator[tuple[str, Evaluation]]]


class Within:
    """What the working model is worth after some ``steps`` of round ``round_num``, which begins
    ``after`` so many.

    ``points`` are the evaluations, under the names of a round's record; ``seconds`` went into them.
    Nothing of the training changes: no random number is drawn, no parameter touched. A loss that is
    not finite is left out, since what diverged is found at the round's end.
    """

    def __init__(
        self,
        flat: FlatModel,
        score: Score,
        round_num: int = 0,
        after: int = 0,
        steps: Collection[int] = (),
    ):
        self._flat, self._score = flat, score
        self._round, self._step = round_num, after
        self.steps = frozenset(steps)
        self.points: list[dict[str, Any]] = []
        self.seconds = 0.0

    def watching(self, seen: Seen) -> Seen:
        """What is called after every step, in place of ``seen`` and after it."""

        def stepped(num_examples: int) -> None:
            seen(num_examples)
            self._step += 1
            if self._step in self.steps:
                self._look()
                seen(0)  # it trains again

        return stepped

    def _look(self) -> None:
        start = time.perf_counter()
        point: dict[str, Any] = {"round": self._round, "step": self._step}
        for name, result in self._score(self._round):
            point |= {
                f"{name}/{key}": value
                for key, value in result.metrics().items()
                if math.isfinite(value)
            }
        point["params_digest"] = digest(self._flat.values)
        self._flat.model.train()
        took = time.perf_counter() - start
        self.points.append(point | {"time/eval_s": took})
        self.seconds += took
