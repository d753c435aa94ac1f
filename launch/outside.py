"""Plain DDP, recorded from outside: no hook in the model's way, only the clock and the kernel's byte counts."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, final

from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_post_hook

from kimad.launch.sockets import SocketSet


@final
class Recorder:
    """Writes one line a step to `path`; a step runs from one training forward to the next.

    The last step ends with the optimizer's last step, since no forward follows it. Bytes are
    those written to all TCP sockets of this process but the ones that touch `skip_ports`.
    """

    def __init__(
        self, model: DistributedDataParallel, path: Path, skip_ports: Collection[int], *, append: bool
    ) -> None:
        ranks = model.process_group.size()
        model_bytes = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        self._dense_bytes = 2 * (ranks - 1) * model_bytes // ranks
        self._file = path.open("a" if append else "w", encoding="utf-8")
        self._sockets = SocketSet(skip_ports)
        self._step = 0
        self._began_s: float | None = None
        self._sent_bytes = 0
        self._optimized_s = 0.0
        self._optimizer_hook = register_optimizer_step_post_hook(self._after_optimizer)

    def mark(self) -> None:
        """A training forward begins."""
        now_s = time.monotonic()
        if self._began_s is None:
            self._sent_bytes = self._written_bytes()  # what was sent before the first step is no step's
        else:
            self._write(self._began_s, now_s)
        self._began_s = now_s

    def close(self) -> None:
        """Write the last step and end the file."""
        self._optimizer_hook.remove()
        if self._began_s is not None and self._optimized_s > self._began_s:
            self._write(self._began_s, self._optimized_s)
        self._began_s = None
        self._sockets.close()
        self._file.close()

    def _after_optimizer(self, *_: Any) -> None:
        self._optimized_s = time.monotonic()

    def _written_bytes(self) -> int:
        self._sockets.refresh()
        self._sockets.read()
        return self._sockets.written_bytes

    def _write(self, began_s: float, end_s: float) -> None:
        total_bytes = self._written_bytes()
        line = {
            "step": self._step,
            "time_s": end_s,
            "objective": "off",
            "wire_bytes": total_bytes - self._sent_bytes,
            "dense_bytes": self._dense_bytes,
            "measured": {"step_s": end_s - began_s},
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._sent_bytes = total_bytes
        self._step += 1
