"""The loop of one model: buckets in, averaged gradients out; then statistics, decision and the next plan.

Two threads work for it, each in the order of the buckets: one encodes, the other has all conversation with the other
ranks and decodes. Between two steps only the second one works; the first waits for it before a new step.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.agreement import Agreement
from kimad.coder import Bucket, Coder, Sending
from kimad.config import Config
from kimad.counters import Counted, Counters
from kimad.curves import DENSITIES
from kimad.decide import Decision, Planner, curves_due, first_plan
from kimad.error_feedback import make_error_feedback
from kimad.errors import ExchangeError, KimadError, PeerError
from kimad.exchange import Exchange
from kimad.executor import Executor
from kimad.failure import FailureBoard, Store
from kimad.group import Group
from kimad.layout import Layer
from kimad.monitor import Transfer
from kimad.observation import Observation
from kimad.outage import Outages
from kimad.record import Sink, StepRecord
from kimad.recording import Ended, step_record
from kimad.shared_link import SharedLink, changes
from kimad.statistics import Statistics, StepLog
from kimad.tcp import Endpoint

Floats = NDArray[np.float64]

OWN = ("outage_timeout_s", "records")  # settings in which ranks may differ
FINAL_BUCKETS_STEP = 2  # DDP builds its buckets anew after the first step, with static_graph after the second


@final
class Loop:
    """Owns the plan in force, the error feedback, and the conversation with the other ranks.

    before: this process's connections before the group was made. momentum: the optimizer's, where the error feedback
    takes it over. link: where other models of this process share it.
    """

    def __init__(
        self, config: Config, layers: Sequence[Layer], group: Group, store: Store, sinks: list[Sink],
        before: Mapping[int, Endpoint], momentum: float = 0.0, link: SharedLink | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._layers = list(layers)
        self._names = [layer.name for layer in layers]
        self._sinks = sinks
        self.rank, self.world_size = group.rank(), group.size()
        self.feedback = make_error_feedback(config.error_feedback, momentum)
        self.records: deque[StepRecord] = deque(maxlen=config.records)
        self.failure: KimadError | None = None
        self.board = FailureBoard(store, group.rank(), group.size())
        self.plan = first_plan(config, layers, self.world_size)
        self._coder = Coder(self.feedback, self.world_size, self.rank)
        self.link = link or SharedLink(config, self.world_size)
        self._exchange = Exchange(group, config.piece_bytes, self._arrived)
        self._agreement = Agreement(group)
        self._agreement.check_layers(self._layers)
        settings = {name: value for name, value in vars(config).items() if name not in OWN}
        self._agreement.check_settings({**settings, "the optimizer's momentum": momentum})
        self._agreement.confirm(self.plan, self._layers)
        self._counters, self._connections = Counters(before, self.world_size - 1), changes()
        self._outages = Outages()
        self._planner = Planner(config, self._layers, self.world_size, link=self.link) if self.rank == 0 else None
        self._decision = Decision(self.plan, {}, None, 0.0)
        self._read_curves = curves_due(config, 0)
        self._log = StepLog(time.monotonic())
        self._buckets: list[Bucket] = []
        self._settled = threading.Event()  # set between steps
        self._settled.set()
        self._failing = threading.Lock()
        self._coding = Executor("kimad-coding")
        self._wire = Executor("kimad-wire")

    def begin_step(self, start_s: float) -> None:
        """Before the first bucket of a step; `start_s` is when the step began."""
        self._coding.submit(partial(self._begin, start_s))

    def coding_s(self, start_s: float) -> float:
        """Seconds of coding so far in the step that began at `start_s`; may be read from any thread."""
        log = self._log
        return log.encode_s + log.decode_s if log.start_s == start_s else 0.0

    def average(self, bucket: Bucket, ready_s: float, done: Callable[[], None]) -> None:
        """Average one bucket, then call `done`. After an error, kept in `failure`, the buffer holds anything.

        While one bucket is on the wire the next one is encoded.
        """
        handed: queue.SimpleQueue[Sending | None] = queue.SimpleQueue()
        self._coding.submit(lambda: handed.put(self._encode(bucket, ready_s)))
        self._wire.submit(lambda: self._send(handed.get, done))

    def average_plainly(self, bucket: Bucket, done: Callable[[], None]) -> None:
        """Plain all-reduce, nothing recorded: what a disabled State does."""
        self._wire.submit(lambda: self._send(lambda: self._coder.plain(bucket), done))

    def end_step(self, unused: set[str]) -> None:
        """After the last bucket: everyone's statistics, the error feedback settled, the next plan agreed.

        unused: layers that had no part in this rank's loss.
        """
        self._wire.submit(partial(self._end, unused))

    def _arrived(self, size: int, start_s: float, end_s: float) -> None:
        if self.link.models > 1:
            self.link.traffic.arrived(id(self), size, start_s, end_s)

    def _begin(self, start_s: float) -> None:
        self._settled.wait()  # the plan of this step
        self._settled.clear()
        self._log = StepLog(start_s)
        self._buckets = []

    def _encode(self, bucket: Bucket, ready_s: float) -> Sending | None:
        if self.failure is not None:
            return None
        try:
            self._log.ready_s.append(ready_s)
            self._buckets.append(bucket)
            return self._coder.encode(bucket, self.plan, self._log, self._read_curves)
        except BaseException as error:  # an open future would hang backward for ever
            self.fail(error, self._coder.encoding)
            return None

    def _send(self, take: Callable[[], Sending | None], done: Callable[[], None]) -> None:
        try:
            sending = take()
            if sending is not None and self.failure is None:
                frames = self._exchange.send(sending, self._log)
                self._exchange.place = ""
                self._coder.decode(sending, frames, self._log)
                self._log.end_s = time.monotonic()
        except BaseException as error:
            self.fail(error, self._exchange.place or self._coder.decoding)
        finally:
            done()

    def _end(self, unused: set[str]) -> None:
        try:
            if self.failure is None:
                self._log.unused = unused
                self._end_step()
        except BaseException as error:
            self.fail(error, "agreement")
        finally:
            self._settled.set()

    def _end_step(self) -> None:
        log, buckets = self._log, tuple(tuple(slot.layer for slot in b.slots) for b in self._buckets)
        counted = self._count()  # now: the small messages that follow would have rates of their own
        log.beside = self._beside(log.transfers)
        residual_square = self.feedback.squared_norm()
        began_s = time.monotonic()
        everyone = self._agreement.statistics(Statistics.of(log, self._names, residual_square, self.world_size))
        void = everyone.void
        nowhere = everyone.unused.all(axis=0)
        self.feedback.end_step(None if void else {self._names[i] for i in np.flatnonzero(nowhere)})
        table = self._gather_curves(log) if self._read_curves else None
        read = np.split(table, [len(DENSITIES)], axis=1) if table is not None else None
        curves, others = read if read is not None else (None, None)
        gradient, own_owed = (*others.T, None)[:2] if others is not None else (None, None)
        seen = Observation.of(self.plan.step, log.end_s, buckets, everyone, curves, gradient, own_owed)
        done, explained = self.plan, self._decision
        self._next_plan(seen)
        if done.step < FINAL_BUCKETS_STEP:
            self._exchange.forget_buffers()
            self._coder.forget_buffers()
        agreement_s = time.monotonic() - began_s - self._decision.solve_s
        outage_s = self._outages.seconds(everyone.wire_s, log.wire_bytes, agreement_s)
        self._read_curves = curves_due(self._config, self.plan.step, seen)
        control_bytes, solve_s = self._agreement.bytes, self._decision.solve_s
        self._record(Ended(done, explained, seen, log, counted, outage_s, residual_square, control_bytes, solve_s))
        self._agreement.bytes = 0

    def _count(self) -> Counted:
        if self._connections != changes():
            self._connections = changes()
            self._counters.look_again()
        return self._counters.read()

    def _beside(self, transfers: Sequence[Transfer]) -> tuple[float, float]:
        """Bytes of this process's other models that came beside frames, and beside all-reduces."""
        if self.link.models < 2:
            return 0.0, 0.0
        kinds = [[(t.start_s, t.end_s) for t in transfers if t.collective == kind] for kind in (False, True)]
        frames, collectives = (self.link.traffic.beside(id(self), intervals) for intervals in kinds)
        return frames, collectives

    def _gather_curves(self, log: StepLog) -> Floats:
        """(layers, densities + 1 or 2) kept energies, and the gradients' own, summed over ranks.

        Where some ranks send less, the last column is the mean of what each of them owes.
        """
        nothing = np.zeros(len(DENSITIES))
        curves = np.stack([log.energy.get(name, nothing) for name in self._names])
        columns = [curves, np.array([log.gradient_square.get(name, 0.0) for name in self._names])]
        ranks = self.plan.own_ranks
        if ranks:
            columns.append(curves[:, -1] * (self.rank in ranks) / len(ranks))
        return self._agreement.sum(np.column_stack(columns))

    def _next_plan(self, seen: Observation) -> None:
        if self._planner is not None:
            self._planner.observe(seen)
        if not self._config.objective.adaptive:
            self.plan = replace(self.plan, step=self.plan.step + 1)
            return
        if self._planner is not None:
            self._decision = self._planner.decide(self.plan, seen.end_s)
        self.plan = self._agreement.share(self._decision.plan if self._planner else None, self._layers)
        self._agreement.confirm(self.plan, self._layers)

    def _record(self, step: Ended) -> None:
        record = step_record(self._config, self._layers, self.rank, self._planner, step)
        self.records.append(record)
        for sink in self._sinks:
            sink.log(record)

    def fail(self, error: BaseException, place: str) -> None:
        """Keep the error that ends this run, tell the other ranks, and close the group."""
        with self._failing:  # both threads may fail; the first one counts
            if self.failure is None:
                self._fail(error, place)

    def _fail(self, error: BaseException, place: str) -> None:
        step = self.plan.step
        lost = isinstance(error, RuntimeError) and not isinstance(error, KimadError)  # torch's: a peer or the network
        reported = self.board.read() if lost else None
        if reported is not None:
            self.failure = PeerError(reported)
        else:
            self.board.report(step, place, error)
            kind = type(error) if isinstance(error, KimadError) else ExchangeError
            self.failure = kind(f"rank {self.rank} failed at step {step}, {place}: {type(error).__name__}: {error}")
        self.failure.__cause__ = error
        traceback.clear_frames(error.__traceback__)  # they hold the group, which must go for its connections to close
        self.close_group()

    def close_group(self) -> None:
        """Let go of this model's own process group: its connections close, and peers in a collective see it at once."""
        self._exchange.close()
        self._agreement.close()

    def drain(self) -> None:
        """Wait until everything handed over so far is done."""
        self._wire.drain()

    def close(self) -> None:
        """Finish what was handed over, end the threads, close the group. May be called again."""
        self._wire.close()
        self._coding.close()
        self.close_group()
        self._exchange.end()
