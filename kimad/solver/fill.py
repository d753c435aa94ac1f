"""Spends what a step's time leaves over: layers, and whole buckets, go to better options while the step still fits.

A step within t is a constraint for each bucket b (`nested`), and a move in bucket j by dl seconds on the link and dc of
coding takes from the room of constraint b

    dl + (1 - e) dc  for b < j,    dl + dc  for b = j,    dc  for b > j

Moves are taken by gain over the largest part that they take of any room. Sparse layers that do not get to the next
density get a k in between.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.menu import Menu
from kimad.solver.interface import Choice, all_bucket_sums
from kimad.solver.timing import ready_s
from kimad.solver.topup import CLOSE, followers, largest
from kimad.timeline import ENCODE_SHARE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUNDS = 6
LEAST_PART = 0.02  # of the way to the next density: less is not worth a search
TINY_S = 1e-12


def fill(menu: Menu, choice: Choice, step_s: float) -> Choice:
    """`choice` with more sent, as long as its predicted step stays within `step_s`; itself if it is not within.

    Higher k alone is tried first: it can use all of the room, at nearly the slope of the frontier.
    """
    with np.errstate(invalid="ignore"):  # a layer that nothing is allowed for
        state = _State(menu, choice, step_s)
        if not (state.room_s >= 0).all():
            return choice
        state.raise_k()
        if state.error <= choice.bound * CLOSE:
            return state.choice(choice)
        other = _State(menu, choice, step_s)
        for _ in range(ROUNDS):
            if not (other.take_bucket() or other.take_layers()):
                break
        other.raise_k()
    return min(state, other, key=lambda s: s.error).choice(choice)


@final
class _State:
    """A choice that changes, and the room in front of each constraint."""

    def __init__(self, menu: Menu, choice: Choice, step_s: float) -> None:
        self._menu = menu
        self._rows, each = np.arange(len(choice.column)), np.arange(len(menu.starts))
        self._bucket = np.repeat(each, np.diff(np.append(menu.starts, len(self._rows))))
        self._column, self._k, self._whole = choice.column.copy(), choice.k.copy(), choice.whole.copy()
        here = self._rows, self._column
        self._seconds = np.stack([menu.link_s[here], menu.coding_s[here]])  # of layers: link, coding
        self._left = menu.error[here]  # squared error of layers
        (link_s,), (coding_s,) = all_bucket_sums(menu, [choice])
        self._bucket_s = np.stack([link_s, coding_s])
        self.error = choice.error
        self._limit_s = step_s - ready_s(menu)
        self.room_s = self._rooms()

    def _rooms(self) -> Floats:
        """(B,) t - R_b - sum_{j<=b} c_j - (1 - e) sum_{j>b} c_j - sum_{j>=b} l_j."""
        coded, behind = np.cumsum(self._bucket_s[1]), np.cumsum(self._bucket_s[0, ::-1])[::-1]
        room: Floats = self._limit_s - coded - (1 - ENCODE_SHARE) * (coded[-1] - coded) - behind
        return room

    def _share(self, bucket: Ints, link_s: Floats, coding_s: Floats) -> Floats:
        """The largest part of any room that moves take; more than 1 if they do not fit."""
        room = np.maximum(self.room_s, TINY_S)
        before, behind = np.full(len(room), np.inf), np.full(len(room), np.inf)
        np.minimum.accumulate(room[:-1], out=before[1:])
        behind[:-1] = np.minimum.accumulate(room[:0:-1])[::-1]
        share: Floats = np.maximum((link_s + coding_s) / room[bucket], coding_s / behind[bucket])
        np.maximum(share, (link_s + (1 - ENCODE_SHARE) * coding_s) / before[bucket], out=share)
        return share

    def _in_frames(self) -> Bools:
        return (self._whole < 0)[self._bucket]

    def take_bucket(self) -> bool:
        """Let the bucket travel whole that gains most by it; whether there is one."""
        menu, each = self._menu, np.arange(len(self._whole))
        frames = np.add.reduceat(self._left, menu.starts)
        now = np.where(self._whole >= 0, menu.whole_error[each, self._whole], frames)
        gain = now[:, None] - menu.whole_error
        more = menu.whole_link_s - self._bucket_s[0][:, None], menu.whole_coding_s - self._bucket_s[1][:, None]
        share = self._share(each[:, None], *more)
        score = np.where((gain > 0) & (share <= 1), gain / np.maximum(share, TINY_S), 0.0)
        b, way = divmod(int(score.argmax()), score.shape[1])
        if not score[b, way] > self._best_layers()[1].max(initial=0.0):
            return False
        self.error -= float(gain[b, way])
        self._bucket_s[:, b], self._whole[b] = (menu.whole_link_s[b, way], menu.whole_coding_s[b, way]), way
        self.room_s = self._rooms()
        return True

    def _best_layers(self) -> tuple[Ints, Floats]:
        """(L,) the column by which each layer gains most for its share, and its score; 0 where there is none."""
        menu = self._menu
        gain = self._left[:, None] - menu.error
        link_s, coding_s = menu.link_s - self._seconds[0][:, None], menu.coding_s - self._seconds[1][:, None]
        share = self._share(self._bucket[:, None], link_s, coding_s)
        fits = (gain > 0) & (share <= 1) & self._in_frames()[:, None]
        score = np.where(fits, gain / np.maximum(share, TINY_S), 0.0)
        column = score.argmax(axis=1)
        return column, score[self._rows, column]

    def take_layers(self) -> bool:
        """Let each layer take its best column, the best layers first, as far as they fit; whether one did."""
        column, score = self._best_layers()
        order = np.argsort(-score, kind="stable")[: int((score > 0).sum())]
        return self._take_in_order(order, column)[0] > 0

    def raise_k(self) -> None:
        """Sparse layers go to their next density, or to the largest k that fits, best gain first."""
        menu, rows = self._menu, self._rows
        partly = np.zeros(len(rows), bool)
        moved = 1
        while moved:
            after = followers(menu, self._column)
            gain = self._left - menu.error[rows, after]
            share = self._share(self._bucket, *self._more(rows, after))
            useful = ~partly & (after >= 0) & self._in_frames() & (gain > 0) & np.isfinite(gain) & (share > 0)
            score = np.where(useful, gain / np.maximum(share, TINY_S), 0.0)
            order = np.argsort(-score, kind="stable")[: int(useful.sum())]
            moved, left = 0, order
            while len(left):
                count, left = self._take_in_order(left, after, stop=True)
                moved += count
                for i in left[:1].tolist():
                    partly[i] = True
                    self._raise(i, int(after[i]))
                left = left[1:]

    def _more(self, layers: Ints, column: Ints) -> tuple[Floats, Floats]:
        """Seconds on the link and of coding that these columns take more."""
        menu, now = self._menu, self._seconds[:, layers]
        return menu.link_s[layers, column] - now[0], menu.coding_s[layers, column] - now[1]

    def _take_in_order(self, order: Ints, column: Ints, *, stop: bool = False) -> tuple[int, Ints]:
        """Layers take their columns, one after the other, each if it fits; returns how many did.

        stop: at the first that does not fit but could go a part of the way; it and those behind it are returned.
        """
        menu, taken = self._menu, 0
        while len(order):
            share = self._share(self._bucket[order], *self._more(order, column[order]))
            order = order[share <= (1 / LEAST_PART if stop else 1.0)]
            effect = np.cumsum(self._effect(self._bucket[order], *self._more(order, column[order])), axis=0)
            fit = (effect <= self.room_s).all(axis=1)
            count = len(order) if fit.all() else int(fit.argmin())
            these, columns = order[:count], column[order[:count]]
            figures = menu.link_s[these, columns], menu.coding_s[these, columns], menu.error[these, columns]
            self._take(these, columns, menu.k[these, columns], *figures)
            taken, order = taken + count, order[count:]
            if stop:
                break
            order = order[1:] if count == 0 else order
        return taken, order

    def _effect(self, bucket: Ints, link_s: Floats, coding_s: Floats) -> Floats:
        """(n, B) what n moves take from each room."""
        each = np.arange(len(self.room_s))
        coding = np.where(each < bucket[:, None], 1 - ENCODE_SHARE, 1.0) * coding_s[:, None]
        return np.where(each <= bucket[:, None], link_s[:, None], 0.0) + coding

    def _raise(self, i: int, after: int) -> None:
        """The largest k of a layer that fits, below that of the column `after`."""
        menu, column, b, room = self._menu, int(self._column[i]), int(self._bucket[i]), self.room_s
        low, high = int(menu.k[i, column]), int(menu.k[i, after])
        (link_s, coding_s), left = self._seconds[:, i].tolist(), float(self._left[i])
        before, own, behind = (float(r.min(initial=np.inf)) for r in (room[:b], room[b : b + 1], room[b + 1 :]))

        def fits(k: int) -> bool:
            seconds = menu.seconds(i, column, k)
            link, coding = seconds[0] - link_s, seconds[1] - coding_s
            return bool(link + (1 - ENCODE_SHARE) * coding <= before and link + coding <= own and coding <= behind)

        k = largest(fits, low, high)
        if k > low:
            left -= (left - float(menu.error[i, after])) * (k - low) / (high - low)
            figures = (np.array([x]) for x in (*menu.seconds(i, column, k), left))
            self._take(np.array([i]), np.array([column]), np.array([k]), *figures)

    def _take(self, layers: Ints, column: Ints, k: Ints, link_s: Floats, coding_s: Floats, left: Floats) -> None:
        """New options for some layers."""
        seconds = np.stack([link_s, coding_s])
        for total, more in zip(self._bucket_s, seconds - self._seconds[:, layers], strict=True):
            np.add.at(total, self._bucket[layers], more)
        self.error += float((left - self._left[layers]).sum())
        self._column[layers], self._k[layers], self._left[layers] = column, k, left
        self._seconds[:, layers] = seconds
        self.room_s = self._rooms()

    def choice(self, before: Choice) -> Choice:
        """As it is now."""
        cost_s = float(self._bucket_s.sum())
        return replace(before, column=self._column, whole=self._whole, k=self._k, cost_s=cost_s, error=self.error)
