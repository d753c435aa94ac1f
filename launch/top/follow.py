"""A run folder that is being filled, read as it grows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import final

from kimad.launch.history import History, StepParser, read_json, start_of
from kimad.launch.job import CONFIG_NAME, RECORDS_NAME, SUMMARY_NAME
from kimad.launch.top.tail import Tail
from kimad.launch.truth import HEADER, TruthRow, parse_rows, truth_path
from kimad.record import StepRecord

LATEST = 60  # steps that keep their layers; those of all steps would fill the memory


@final
class Follower:
    """What a run has done so far; each look reads only what is new. The folder need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records = Tail(folder / RECORDS_NAME)
        self._parse = StepParser()
        self._steps: list[StepRecord] = []
        self._truth: list[tuple[Tail, list[TruthRow]]] = []  # of host 0, 1, …

    def look(self) -> History:
        """The run as it is now. Only its latest steps have layers."""
        lines, anew = self._records.read()
        if anew:
            self._steps.clear()
        for line in lines:
            step = self._parse(line)
            if step is not None:
                self._steps.append(step)
                if len(self._steps) > LATEST:
                    self._steps[-LATEST - 1] = dataclasses.replace(self._steps[-LATEST - 1], layers=())
        truth = self._look_at_truth()
        steps = tuple(self._steps)
        return History(
            folder=self._folder,
            name=self._folder.resolve().name,
            config=read_json(self._folder / CONFIG_NAME) or {},
            summary=read_json(self._folder / SUMMARY_NAME),
            steps=steps,
            start_s=start_of(self._folder, truth, steps),
            truth=truth,
        )

    def _look_at_truth(self) -> dict[int, list[TruthRow]]:
        while (path := truth_path(self._folder, len(self._truth))).is_file():
            self._truth.append((Tail(path), []))
        for tail, rows in self._truth:
            lines, anew = tail.read()
            if anew:
                rows.clear()
            rows.extend(parse_rows([HEADER, *(line for line in lines if line != HEADER)]))
        return {host: rows for host, (_, rows) in enumerate(self._truth)}
