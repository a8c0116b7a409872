"""An independent proof that a graph's memory is right, whatever the two devices' timing.

It looks at nothing but the graph that the executor gets and at the memory behind its storage ids, and plays it twice in
a row with vector clocks (Mattern, 1989): the host does what it does in the order of the nodes, the GPU's kernels run
behind each other some time after they are launched, early downloads on a queue of their own, and what is tied together
is only what the runtime promises: a launch comes after what the host did before, and a copy to the CPU waits for the
commands that wrote its source. Then each time something is read,

- whatever wrote those bytes must have ended before, and
- everything else that ever writes them must have ended before that, or begin after the read.

If that holds, no interleaving can change a result.
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
    """Something that reads or writes memory: whose it is, its number there, and what is known to have ended before."""

    agent: int
    number: int
    clock: tuple[int, ...]
    what: str

    def before(self, other: _Event) -> bool:
        return self is not other and other.clock[self.agent] >= self.number


# Of some bytes of a tensor (begin and length within it): which event wrote them.
_Piece = tuple[int, int, _Event]


@dataclass(frozen=True)
class _Access:
    block: int
    begin: int
    end: int
    event: _Event
    tensor: str


def problems(
    text: str, storages: Sequence[Storage], inputs: Collection[str], mapped: bool = False, runs: int = 2
) -> list[str]:
    """What can go wrong with a graph's memory.

    Parameters
    ----------
    text : str
        The graph, as the executor gets it.
    storages : sequence of Storage
        The memory behind each storage id.
    inputs : collection of str
        Nodes that the caller writes before each run; other nodes without a function are written once.
    mapped : bool
        The host may only write shared memory that has been mapped for it.
    runs : int
        How often in a row.

    Returns
    -------
    list of str
        One sentence each; empty if every result is the same under every interleaving.
    """
    player = _Player(Graph(text), storages, set(inputs))
    for run in range(runs):
        player.play(run)
    return player.found(mapped)


class _Player:
    def __init__(self, graph: Graph, storages: Sequence[Storage], inputs: set[str]):
        self.graph, self.storages, self.inputs = graph, storages, inputs
        self.clocks = [[0] * _AGENTS for _ in range(_AGENTS)]
        self.content: dict[int, list[_Piece]] = {}
        self.reads: list[tuple[_Access, list[_Piece]]] = []
        self.writes: list[_Access] = []
        self.fetched: dict[int, _Event] = {}
        self.unmapped: list[str] = []

    def play(self, run: int) -> None:
        """One run, the caller's writing of inputs before it, his reading of outputs behind it."""
        may_write: set[int] = set()
        for node in self.graph.nodes:
            if not node.function:
                if run == 0 or node.name in self.inputs:
                    self._write(node.outputs[0], self._event(HOST, f"the caller's writing of {node.name}"))
            elif node.function == MAP:
                may_write.update(self.graph.entries[e].storage for e in node.outputs)
            elif node.function == NOTHING:
                self._same(node)
            elif node.function in (COPY, FETCH):
                self._copy(node)
            elif node.function == JOIN:
                self._join(node)
            elif node.function != SIGNAL:
                self._kernel(node, may_write)
        done = self._event(HOST, "the caller's reading of the results")
        for e in self.graph.outputs:
            self._read(e, done)

    def _event(self, agent: int, what: str) -> _Event:
        """The agent's next event; of the GPU's, behind all that the host has done so far."""
        mine, host = self.clocks[agent], self.clocks[HOST]
        mine[:] = [max(a, b) for a, b in zip(mine, host, strict=True)]
        mine[agent] += 1
        return _Event(agent, mine[agent], tuple(mine), what)

    def _wait(self, event: _Event) -> None:
        self.clocks[HOST][:] = [max(a, b) for a, b in zip(self.clocks[HOST], event.clock, strict=True)]

    def _place(self, entry: int) -> tuple[int, int]:
        storage = self.storages[self.graph.entries[entry].storage]
        return storage.block, storage.offset

    def _access(self, entry: int, event: _Event, begin: int = 0, length: int | None = None) -> _Access:
        block, offset = self._place(entry)
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
        """What a tensor holds that an event has written; nothing where it has no elements, so that nothing waits."""
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
        block = self._place(entry)[0]
        return any(s.block == block and s.device != self.graph.entries[entry].device for s in self.storages)

    def _same(self, node: Node) -> None:
        """Nothing is done: the result has to be there already."""
        out, pieces, at = node.outputs[0], [], 0
        for e in node.inputs:
            where, offset = self._place(out)
            if self._place(e) != (where, offset + at):
                raise ValueError(f"{node.name} does nothing, but its operand {e} is not where its result is")
            pieces += [(at + begin, length, writer) for begin, length, writer in self.content[e]]
            at += self.graph.entries[e].nbytes
        self.content[out] = pieces

    def _join(self, node: Node) -> None:
        out, at = node.outputs[0], 0
        block, offset = self._place(out)
        in_place = True
        for e in node.inputs:
            in_place = in_place and self._place(e) == (block, offset + at)
            at += self.graph.entries[e].nbytes
        if in_place:
            self._same(node)
            return
        event = self._event(HOST, node.name)
        for e in node.inputs:
            self._read(e, event)
        self._write(out, event)

    def _copy(self, node: Node) -> None:
        source, out = node.inputs[0], node.outputs[0]
        to_cpu = self.graph.entries[out].on_cpu
        crosses = to_cpu != self.graph.entries[source].on_cpu
        if crosses and to_cpu:
            for _, _, writer in self.content[source]:
                # a fetch waits on the device's side, the host at the copy itself
                self._wait(writer) if node.function == COPY else None
        if node.function == FETCH:
            before = self.clocks[TRANSFER]
            for _, _, writer in self.content[source]:
                before[:] = [max(a, b) for a, b in zip(before, writer.clock, strict=True)]
            event = self._event(TRANSFER, node.name)
            self._read(source, event)
            self._write(out, event)
            self.fetched[self.graph.entries[out].storage] = event
        elif crosses and self._place(source) == self._place(out):
            self.content[out] = self.content[source]
        elif crosses and to_cpu and (fetch := self.fetched.pop(self.graph.entries[out].storage, None)):
            self._wait(fetch)
            self.content[out] = self._pieces(out, fetch)
        elif crosses and not to_cpu:
            # what the host gives away is read at once; the device's side is ordered by the runtime like a kernel
            self._read(source, self._event(HOST, node.name))
            self._write(out, self._event(QUEUE, node.name))
        else:
            event = self._event(HOST if to_cpu else QUEUE, node.name)
            self._read(source, event)
            self._write(out, event)

    def found(self, mapped: bool) -> list[str]:
        """All that is wrong."""
        wrong = list(self.unmapped) if mapped else []
        by_block: dict[int, list[_Access]] = {}
        for w in self.writes:
            by_block.setdefault(w.block, []).append(w)
        tables = {block: _Table(writes) for block, writes in by_block.items()}
        for read, pieces in self.reads:
            for _, _, writer in pieces:
                if not writer.before(read.event):
                    wrong.append(f"{read.event.what} may read {read.tensor} before {writer.what} has written it")
                wrong += [
                    f"{w.event.what} may write over {read.tensor}, which {read.event.what} reads"
                    for w in tables[read.block].others(read, writer)
                ]
        return list(dict.fromkeys(wrong))


class _Table:
    """The writes to one block, so that those which meet a read are found at once."""

    def __init__(self, writes: list[_Access]):
        self.writes = writes
        self.begin = np.array([w.begin for w in writes])
        self.end = np.array([w.end for w in writes])
        self.agent = np.array([w.event.agent for w in writes])
        self.number = np.array([w.event.number for w in writes])
        self.clock = np.array([w.event.clock for w in writes])

    def others(self, read: _Access, writer: _Event) -> list[_Access]:
        """Writes to what is read that are neither over before `writer` began nor begin after the read."""
        overlap = (self.begin < read.end) & (read.begin < self.end)
        is_writer = (self.agent == writer.agent) & (self.number == writer.number)
        before = np.asarray(writer.clock)[self.agent] >= self.number
        after = self.clock[:, read.event.agent] >= read.event.number
        same = (self.agent == read.event.agent) & (self.number == read.event.number)
        return [self.writes[i] for i in np.nonzero(overlap & ~is_writer & ~before & (~after | same))[0]]
