"""What the makers of designed kernels share: inputs, weights, rounding of extents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relay

Point = dict[str, int]
Bounds = dict[str, tuple[float, float]]
Make = Callable[["Maker", Point], relay.Expr]


def round_to_8(n: int) -> int:
    """Round channels to multiples of 8 or 16, as in most networks, except one number in five."""
    return n if n % 5 == 0 else max(8, round(n / 16) * 16 if n > 48 else round(n / 8) * 8)


class Maker:
    """Makes kernels and collects their inputs."""

    def __init__(self, rng: np.random.Generator):
        self.inputs: list[relay.Var] = []
        self._turns: dict[str, int] = {}
        self.noise = (rng.standard_normal(1 << 16) * 0.1).astype("float32")

    def next_turn(self, name: str, count: int) -> int:
        """Return 0, 1, ... `count` - 1, 0, ... in turn: which of its variants a class makes next."""
        self._turns[name] = self._turns.get(name, -1) + 1
        return self._turns[name] % count

    def input(self, *shape: int, dtype: str = "float32") -> relay.Var:
        """Make an input of the module."""
        self.inputs.append(relay.var(f"x{len(self.inputs)}", shape=shape, dtype=dtype))
        return self.inputs[-1]

    def weight(self, *shape: int) -> relay.Constant:
        """Make a constant of small random numbers."""
        return relay.const(np.resize(self.noise, shape))

    def integers(self, *shape: int, dtype: str = "int8") -> relay.Constant:
        """Make a constant of random 8-bit numbers."""
        return relay.const(np.resize((self.noise * 300).clip(-127, 127), shape).astype(dtype))

    def finish(self, out: relay.Expr, channels: int, shape: tuple[int, ...] | None, which: int) -> relay.Expr:
        """Add bias and activation as in networks, sometimes a residual, sometimes nothing."""
        if which % 4 == 3:
            return out
        out = relay.nn.bias_add(out, self.weight(channels))
        if which % 4 == 2 and shape is not None:
            out = relay.add(out, self.input(*shape))
        return relay.nn.relu(out)
