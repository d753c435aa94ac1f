"""Decoding with experts that come over a link: hits are computed while misses load, and the outcome never changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.moe.errors import MoeError
from examples.moe.inference.decode import ROWS, KeyValues, attend, embed, expert_output, next_logits, route
from examples.moe.inference.layout import Key
from examples.moe.inference.loader import Loader
from examples.moe.inference.outlook import Floats, Visit, union_probability
from examples.moe.inference.predictor import Predictor
from examples.moe.inference.resident import Decoded
from examples.moe.inference.scheduler import schedule
from examples.moe.model import LanguageModel

KEPT = 0.8  # of the average time between two visits, a visit
HEAD_START = 0.5  # visits, from the prediction of a step to its first layer's experts


@dataclass(frozen=True)
class Costs:
    """Seconds of computing that a virtual clock is told; a real one measures by itself."""

    dense_s: float = 0.0  # attention and router of one layer, one batch
    expert_s: float = 0.0  # one expert for one block of rows
    predict_s: float = 0.0  # one call of the predictor
    head_s: float = 0.0  # the logits of one batch
    schedule_s: dict[str, float] = field(default_factory=dict)  # splitting two batches, by method


@dataclass
class Counts:
    """Sums over visits to layers."""

    visits: int = 0
    needed: int = 0  # experts
    hits: int = 0  # of these, resident when the layer was routed
    predicted: int = 0  # experts that were among the k most probable of a token of the batch
    rightly: int = 0  # of these, needed
    tokens: int = 0
    history: list[list[Key]] = field(default_factory=list)  # what every visit needed


@dataclass(frozen=True)
class Step:
    """The next token of one batch."""

    rows: list[int]
    tokens: list[int]
    positions: list[int]
    visits: list[Visit]  # predicted; none without a predictor
    guessed: list[set[int]]  # experts predicted, a layer


class Engine:
    """Runs batches in turn. While one computes, the next one's tokens are known already, and its experts can come."""

    def __init__(
        self, model: LanguageModel, loader: Loader, predictor: Predictor | None = None, costs: Costs | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> None:  # fmt: skip
        """on_token: called with the sequence and each new byte."""
        self._model, self._loader, self._predictor = model, loader, predictor
        self._costs = costs or Costs()
        self._on_token = on_token
        self.counts = Counts()
        self._visit_s = 0.0

    @torch.no_grad()
    def decode(self, prompts: Sequence[Sequence[int]], new: int, batches: int = 2, method: str = "none") -> Decoded:
        """Greedy decoding of `new` bytes after each prompt, in so many batches; two of them can be scheduled.

        Raises:
            MoeError: an empty or too long prompt, a number of batches that does not go.
            StoreError: an expert could not be had.
        """
        check(prompts, new, self._model.config.context)
        if method != "none" and batches != 2:
            raise MoeError(f"schedule {method!r} splits two batches; there are {batches}")
        if not 1 <= batches <= len(prompts):
            raise MoeError(f"{batches} batches of {len(prompts)} sequences; allowed: 1 to {len(prompts)}")
        self._tokens = [list(prompt) for prompt in prompts]
        self._prompts = [len(prompt) for prompt in prompts]
        self._new = new
        self._done = [0] * len(prompts)
        self._logits: list[list[Tensor]] = [[] for _ in prompts]
        self._paths: list[list[Tensor]] = [[] for _ in prompts]
        self._kv = KeyValues(self._model, len(prompts))
        if self._predictor is not None:
            self._predictor.reset(len(prompts))
        groups = [list(map(int, part)) for part in np.array_split(np.arange(len(prompts)), batches)]
        queue = self._split(groups, method)
        while queue:
            step = queue.pop(0)
            self._run(step, [visit for later in queue for visit in later.visits])
            if method == "none":
                queue += self._split([step.rows], method)
            elif not queue:
                queue = self._split(groups, method)
        return Decoded(self._tokens, [torch.stack(x) for x in self._logits], [torch.stack(x) for x in self._paths])

    def _split(self, groups: list[list[int]], method: str) -> list[Step]:
        """The next steps of what is not finished, predicted, and split anew where that is asked for."""
        alive = [[row for row in rows if self._done[row] < self._prompts[row] + self._new - 1] for rows in groups]
        rows = [row for group in alive for row in group]
        if not rows:
            return []
        if self._predictor is None:
            return [self._step(group, None) for group in alive if group]
        positions = [self._done[row] for row in rows]
        tokens = [self._tokens[row][position] for row, position in zip(rows, positions, strict=True)]
        probable = dict(zip(rows, self._predictor.step(rows, tokens, positions), strict=True))
        self._loader.spend(self._costs.predict_s)
        if method != "none" and len(rows) % 2 == 0:
            paths = np.stack([self._likeliest(probable[row]) for row in rows]).reshape(len(rows), -1)
            order = schedule(paths, method)
            self._loader.spend(self._costs.schedule_s.get(method, 0.0))
            alive = [[rows[i] for i in half] for half in np.split(order, 2)]
        return [self._step(group, np.stack([probable[row] for row in group])) for group in alive if group]

    def _likeliest(self, probable: Floats) -> NDArray[np.bool_]:
        """The k most probable experts of each layer as marks. probable: [..., experts]."""
        best = np.argsort(-probable, axis=-1, kind="stable")[..., : self._model.config.chosen]
        marks = np.zeros(probable.shape, np.bool_)
        np.put_along_axis(marks, best, True, axis=-1)
        return marks

    def _step(self, rows: list[int], probable: Floats | None) -> Step:
        positions = [self._done[row] for row in rows]
        tokens = [self._tokens[row][position] for row, position in zip(rows, positions, strict=True)]
        if probable is None:
            return Step(rows, tokens, positions, [], [])
        union = union_probability(probable)
        guessed = np.logical_or.reduce(self._likeliest(probable))
        visits = [Visit(layer, union[layer]) for layer in range(len(union))]
        return Step(rows, tokens, positions, visits, [set(map(int, np.flatnonzero(marks))) for marks in guessed])

    def _run(self, step: Step, later: list[Visit]) -> None:
        """One token of every sequence of a batch."""
        model, loader = self._model, self._loader
        x = embed(model, step.tokens, step.positions)
        loader.look([*step.visits, *later], HEAD_START * self._visit_s, self._visit_s)
        paths = []
        for layer in range(model.config.layers):
            block = model.block(layer)
            begin_s, stalled_s = loader.now_s(), loader.stall_s
            x = attend(block, layer, x, step.rows, step.positions, self._kv)
            normed, chosen, gates = route(block, x, model.config.chosen)
            loader.spend(self._costs.dense_s)
            outputs = self._experts(layer, normed, chosen, step, [*step.visits[layer + 1 :], *later])
            mixed = torch.zeros_like(x)
            for k in range(model.config.chosen):
                mixed = mixed + gates[:, k : k + 1] * outputs[:, k]
            x = x + mixed
            paths.append(chosen)
            took_s = loader.now_s() - begin_s - (loader.stall_s - stalled_s)
            self._visit_s = KEPT * self._visit_s + (1 - KEPT) * took_s if self._visit_s else took_s
        logits = next_logits(model, x)
        loader.spend(self._costs.head_s)
        self._advance(step, logits, torch.stack(paths, 1))

    def _experts(self, layer: int, x: Tensor, chosen: Tensor, step: Step, coming: list[Visit]) -> Tensor:
        """Outputs [n, k, width] of the chosen experts; those that are there compute while the others load."""
        loader = self._loader
        needed = [(layer, expert) for expert in sorted(set(chosen.flatten().tolist()))]
        pending, ready = loader.enter(layer, needed)
        self._count(layer, needed, ready, step)
        loader.look(coming, self._visit_s, self._visit_s)
        outputs = torch.empty(*chosen.shape, x.shape[1])
        wanted = set(needed)
        while True:
            for key in ready:
                if key in wanted:
                    rows, places = (chosen == key[1]).nonzero(as_tuple=True)
                    outputs[rows, places] = expert_output(loader.weights(key), self._model, x[rows])
                    loader.spend(self._costs.expert_s * -(-len(rows) // ROWS))
                loader.release(key, used=key in wanted)
                pending.remove(key)
            if not pending:
                return outputs
            ready = loader.take(pending)
            if not ready:
                loader.wait(pending)
                ready = loader.take(pending)

    def _count(self, layer: int, needed: list[Key], hits: list[Key], step: Step) -> None:
        counts, wanted = self.counts, set(needed)
        counts.visits += 1
        counts.needed += len(needed)
        counts.hits += sum(key in wanted for key in hits)
        counts.history.append(needed)
        if step.guessed:
            counts.predicted += len(step.guessed[layer])
            counts.rightly += len(step.guessed[layer] & {expert for _, expert in needed})

    def _advance(self, step: Step, logits: Tensor, paths: Tensor) -> None:
        """Keep what came out; where the prompt is over, the most probable byte is the next token."""
        self.counts.tokens += len(step.rows)
        for i, row in enumerate(step.rows):
            self._logits[row].append(logits[i])
            self._paths[row].append(paths[i])
            self._done[row] += 1
            if self._done[row] >= self._prompts[row]:
                self._tokens[row].append(int(logits[i].argmax()))
                if self._on_token is not None:
                    self._on_token(row, self._tokens[row][-1])
        if self._predictor is not None:
            self._predictor.observe(step.rows, paths)


def check(prompts: Sequence[Sequence[int]], new: int, context: int) -> None:
    """Raises MoeError where a prompt is empty, or too long for what is to follow."""
    if new < 1:
        raise MoeError(f"{new} new bytes; allowed: 1 or more")
    if not prompts:
        raise MoeError("no prompt; at least one is needed")
    for prompt in prompts:
        if not prompt:
            raise MoeError("the prompt is empty; at least one byte is needed")
        if len(prompt) + new > context:
            raise MoeError(f"a prompt of {len(prompt)} bytes + {new} more are {len(prompt) + new}; allowed: {context}")
