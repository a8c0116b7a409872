"""An independent proof that a graph has no memory hazard, whatever the two devices' timing.

The proof uses only the executor's graph and the memory of its storage ids. It replays the graph for several runs in a
row with vector clocks (Mattern, 1989). The host executes nodes in order; the GPU executes its kernels in order, some
time after their launch; early downloads have a queue of their own. The only ordering between them is what the runtime
guarantees: a launch comes after everything that the host did before, and a copy to the CPU waits for the commands that
wrote its source. Then for every read of some bytes,

- the event that wrote them must have ended before the read starts, and
- every other event that ever writes them must have ended before that write, or start after the read.

If both hold, no interleaving changes a result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph_json import COPY, NOTHING, Graph, Node
from .rewrite import FETCH, JOIN, MAP, SIGNAL, Storage

HOST, QUEUE, TRANSFER = 0, 1, 2
_AGENTS = 3


@dataclass(frozen=True)
class _Event:
    """Something that reads or writes memory: its agent, its number there, and the events that precede it (a clock)."""

    agent: int
    number: int
    clock: tuple[int, ...]
    what: str

    def precedes(self, other: _Event) -> bool:
        return self is not other and other.clock[self.agent] >= self.number


# A range of a tensor's bytes (begin, length) and the event that wrote it.
_Piece = tuple[int, int, _Event]


@dataclass(frozen=True)
class _Access:
    block: int
    begin: int
    end: int
    event: _Event
    tensor: str


def find_hazards(
    text: str, storages: Sequence[Storage], inputs: Collection[str], mapped: bool = False, runs: int = 2
) -> list[str]:
    """Find the memory hazards of a graph.

    Parameters
    ----------
    text : str
        The executor's graph as JSON.
    storages : sequence of Storage
        Memory of each storage id.
    inputs : collection of str
        Names of the nodes that the caller writes before each run; other nodes without a function are written once.
    mapped : bool
        Whether the host may write shared memory only after mapping it.
    runs : int
        Number of consecutive runs.

    Returns
    -------
    list of str
        One sentence for each hazard; empty if every result is the same under every interleaving.
    """
    replay = _Replay(Graph(text), storages, set(inputs))
    for run in range(runs):
        replay.execute(run)
    return replay.report(mapped)


class _Replay:
    def __init__(self, graph: Graph, storages: Sequence[Storage], inputs: set[str]):
        self.graph, self.storages, self.inputs = graph, storages, inputs
        self.clocks = [[0] * _AGENTS for _ in range(_AGENTS)]
        self.content: dict[int, list[_Piece]] = {}
        self.reads: list[tuple[_Access, list[_Piece]]] = []
        self.writes: list[_Access] = []
        self.fetched: dict[int, _Event] = {}
        self.unmapped: list[str] = []

    def execute(self, run: int) -> None:
        """One run: the caller writes the inputs, the nodes run, the caller reads the outputs."""
        may_write: set[int] = set()
        for node in self.graph.nodes:
            if not node.function:
                if run == 0 or node.name in self.inputs:
                    self._write(node.outputs[0], self._event(HOST, f"the caller's write of {node.name}"))
            elif node.function == MAP:
                may_write.update(self.graph.entries[e].storage for e in node.outputs)
            elif node.function == NOTHING:
                self._no_op(node)
            elif node.function in (COPY, FETCH):
                self._copy(node)
            elif node.function == JOIN:
                self._join(node)
            elif node.function != SIGNAL:
                self._kernel(node, may_write)
        done = self._event(HOST, "the caller's read of the results")
        for e in self.graph.outputs:
            self._read(e, done)

    def _event(self, agent: int, what: str) -> _Event:
        """Return the agent's next event, which follows everything that the host has done so far."""
        mine, host = self.clocks[agent], self.clocks[HOST]
        mine[:] = [max(a, b) for a, b in zip(mine, host, strict=True)]
        mine[agent] += 1
        return _Event(agent, mine[agent], tuple(mine), what)

    def _wait(self, event: _Event) -> None:
        self.clocks[HOST][:] = [max(a, b) for a, b in zip(self.clocks[HOST], event.clock, strict=True)]

    def _location(self, entry: int) -> tuple[int, int]:
        storage = self.storages[self.graph.entries[entry].storage]
        return storage.block, storage.offset

    def _access(self, entry: int, event: _Event, begin: int = 0, length: int | None = None) -> _Access:
        block, offset = self._location(entry)
        length = self.graph.entries[entry].nbytes if length is None else length
        name = self.graph.nodes[self.graph.entries[entry].node].name
        return _Access(block, offset + begin, offset + begin + length, event, name)

    def _read(self, entry: int, event: _Event) -> None:
        self.reads += [
            (self._access(entry, event, begin, length), [(begin, length, writer)])
            for begin, length, writer in self.content[entry]
        ]

    def _write(self, entry: int, event: _Event) -> None:
        self.writes.append(self._access(entry, event))
        self.content[entry] = self._pieces(entry, event)

    def _pieces(self, entry: int, event: _Event) -> list[_Piece]:
        """Return a tensor's content once an event has written it; empty without elements: then no read waits for it."""
        nbytes = self.graph.entries[entry].nbytes
        return [(0, nbytes, event)] if nbytes else []

    def _kernel(self, node: Node, may_write: set[int]) -> None:
        on_cpu = self.graph.entries[node.outputs[0]].on_cpu
        event = self._event(HOST if on_cpu else QUEUE, node.name)
        for e in node.inputs:
            self._read(e, event)
        for e in node.outputs:
            self._write(e, event)
            if on_cpu and self._is_shared(e) and self.graph.entries[e].storage not in may_write:
                self.unmapped.append(f"{node.name} writes memory that is not mapped for the host")
        may_write.clear()

    def _is_shared(self, entry: int) -> bool:
        block = self._location(entry)[0]
        return any(s.block == block and s.device != self.graph.entries[entry].device for s in self.storages)

    def _no_op(self, node: Node) -> None:
        """The node is a no-op: its operands must already be in the result's memory."""
        out, at = node.outputs[0], 0
        pieces: list[_Piece] = []
        for e in node.inputs:
            block, offset = self._location(out)
            if self._location(e) != (block, offset + at):
                raise ValueError(f"{node.name} is a no-op, but its operand {e} is not in its result's memory")
            pieces += [(at + begin, length, writer) for begin, length, writer in self.content[e]]
            at += self.graph.entries[e].nbytes
        self.content[out] = pieces

    def _join(self, node: Node) -> None:
        out, at = node.outputs[0], 0
        block, offset = self._location(out)
        in_place = True
        for e in node.inputs:
            in_place = in_place and self._location(e) == (block, offset + at)
            at += self.graph.entries[e].nbytes
        if in_place:
            self._no_op(node)
            return
        event = self._event(HOST, node.name)
        for e in node.inputs:
            self._read(e, event)
        self._write(out, event)

    def _copy(self, node: Node) -> None:
        source, out = node.inputs[0], node.outputs[0]
        to_cpu = self.graph.entries[out].on_cpu
        crosses = to_cpu != self.graph.entries[source].on_cpu
        if crosses and to_cpu and node.function == COPY:  # a fetch waits on the device, not on the host
            for _, _, writer in self.content[source]:
                self._wait(writer)
        if node.function == FETCH:
            before = self.clocks[TRANSFER]
            for _, _, writer in self.content[source]:
                before[:] = [max(a, b) for a, b in zip(before, writer.clock, strict=True)]
            event = self._event(TRANSFER, node.name)
            self._read(source, event)
            self._write(out, event)
            self.fetched[self.graph.entries[out].storage] = event
        elif crosses and self._location(source) == self._location(out):
            self.content[out] = self.content[source]
        elif crosses and to_cpu and (fetch := self.fetched.pop(self.graph.entries[out].storage, None)):
            self._wait(fetch)
            self.content[out] = self._pieces(out, fetch)
        elif crosses and not to_cpu:
            # The host's side is read immediately; the runtime orders the device's side like a kernel.
            self._read(source, self._event(HOST, node.name))
            self._write(out, self._event(QUEUE, node.name))
        else:
            event = self._event(HOST if to_cpu else QUEUE, node.name)
            self._read(source, event)
            self._write(out, event)

    def report(self, mapped: bool) -> list[str]:
        """Return all hazards, without duplicates."""
        hazards = list(self.unmapped) if mapped else []
        by_block: dict[int, list[_Access]] = {}
        for w in self.writes:
            by_block.setdefault(w.block, []).append(w)
        tables = {block: _Table(writes) for block, writes in by_block.items()}
        for read, pieces in self.reads:
            for _, _, writer in pieces:
                if not writer.precedes(read.event):
                    hazards.append(f"{read.event.what} may read {read.tensor} before {writer.what} has written it")
                hazards += [
                    f"{w.event.what} may overwrite {read.tensor}, which {read.event.what} reads"
                    for w in tables[read.block].find_conflicts(read, writer)
                ]
        return list(dict.fromkeys(hazards))


class _Table:
    """The writes to one block as arrays, to find those that overlap a read quickly."""

    def __init__(self, writes: list[_Access]):
        self.writes = writes
        self.begin = np.array([w.begin for w in writes])
        self.end = np.array([w.end for w in writes])
        self.agent = np.array([w.event.agent for w in writes])
        self.number = np.array([w.event.number for w in writes])
        self.clock = np.array([w.event.clock for w in writes])

    def find_conflicts(self, read: _Access, writer: _Event) -> list[_Access]:
        """Return the writes to the bytes of a read that neither end before `writer` starts nor start after the read."""
        overlap = (self.begin < read.end) & (read.begin < self.end)
        is_writer = (self.agent == writer.agent) & (self.number == writer.number)
        before = np.asarray(writer.clock)[self.agent] >= self.number
        after = self.clock[:, read.event.agent] >= read.event.number
        same = (self.agent == read.event.agent) & (self.number == read.event.number)
        return [self.writes[i] for i in np.nonzero(overlap & ~is_writer & ~before & (~after | same))[0]]
