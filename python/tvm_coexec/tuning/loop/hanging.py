"""Boards that hang: candidates end in timeouts on them, one after the other, while the tracker still knows them.

A candidate may be the reason of a timeout as well. So a board is left out only after several in a row, and if it is,
the candidates are measured again on other boards. The last board is never compared with another one; it is given up
after more timeouts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from tvm.autotvm.measure import MeasureResult

from tvm_coexec.core.errors import CoExecError

logger = logging.getLogger("tvm_coexec")

# Timeouts in a row after which a board is left out; if it is the only one.
MOST, MOST_OF_LAST = 3, 8

Save = Callable[[int, MeasureResult], None]


class HangWatch:
    """Which boards are left out, and what speaks against others.

    Attributes
    ----------
    left_out : set of str
        ``HOST:PORT`` of boards.
    """

    def __init__(self) -> None:
        self.left_out: set[str] = set()
        self.counts: dict[str, int] = {}

    def accepts(self, address: str) -> bool:
        """Whether a board is used."""
        return address not in self.left_out

    def open(self, save: Save) -> Watched:
        """Watch the candidates of one task."""
        return Watched(self, save)


class Watched:
    """Results of one task's candidates; timeouts are held back until it is known whether their board works.

    Parameters
    ----------
    watch : HangWatch
    save : callable
        Takes a candidate's number and its result.
    """

    def __init__(self, watch: HangWatch, save: Save):
        self._watch, self._save = watch, save
        self._held: dict[str, list[tuple[int, MeasureResult]]] = {}
        self._moved: set[int] = set()  # candidates that were measured again on another board

    def add_answer(self, number: int, result: MeasureResult, address: str) -> None:
        """Save a result; a board that answers does not hang, so earlier candidates were the reason of timeouts."""
        if address:
            self._watch.counts.pop(address, None)
            self._release(address)
        self._save(number, result)

    def add_timeout(self, number: int, result: MeasureResult, address: str) -> None:
        """Hold a timeout back; of a candidate that did not end on another board either, save it."""
        if number in self._moved:
            self._save(number, result)
            return
        self._watch.counts[address] = self._watch.counts.get(address, 0) + 1
        self._held.setdefault(address, []).append((number, result))

    def leave_out(self, boards: int, within: str) -> list[int]:
        """Leave out the boards that had too many timeouts; return the candidates to measure again, on others.

        Parameters
        ----------
        boards : int
            Number of boards in use.
        within : str
            The time limit, for messages.

        Raises
        ------
        CoExecError
            If it is the last one.
        """
        again: list[int] = []
        for address, count in list(self._watch.counts.items()):
            if boards <= 1:
                if count >= MOST_OF_LAST:
                    raise CoExecError(
                        f"the last board, {address}, seems to hang: {count} candidates in a row did not end {within}; "
                        "restart its server, or give candidates more time (timeout), and run the same command again to "
                        "continue"
                    )
                continue
            if count < MOST:
                continue
            boards -= 1
            self._watch.left_out.add(address)
            del self._watch.counts[address]
            logger.warning("board %s is left out: %d candidates in a row did not end %s", address, count, within)
            held = [number for number, _ in self._held.pop(address, [])]
            self._moved.update(held)
            again += held
        return again

    def take_from_gone(self, known: Collection[str]) -> list[int]:
        """Return the candidates to measure again whose board is not among those that the tracker knows."""
        gone = [a for a in self._held if a not in known]
        again = [number for a in gone for number, _ in self._held.pop(a)]
        for address in gone:
            self._watch.counts.pop(address, None)
        self._moved.update(again)
        return again

    def close(self) -> None:
        """Save what is held back."""
        for address in list(self._held):
            self._release(address)

    def _release(self, address: str) -> None:
        for number, result in self._held.pop(address, []):
            self._save(number, result)
