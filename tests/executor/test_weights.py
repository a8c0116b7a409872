"""Weights that several programs have in common."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_coexec.executor.weights import share_weights


def rebuilt(pieces: list[str], stored: dict[str, np.ndarray], like: np.ndarray) -> np.ndarray:
    """What the C++ runtime makes of the pieces."""
    flat = np.concatenate([np.ascontiguousarray(stored[p]).reshape(-1).view("uint8") for p in pieces])
    return flat.view(like.dtype).reshape(like.shape)


def drawn(*shape: int, dtype: str = "float32") -> np.ndarray:
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (values > 0 if dtype == "bool" else values * 50).astype(dtype)


WHOLE = drawn(16, 8, 3, 4)
CASES = {
    "equal": ({"p0": WHOLE}, WHOLE, 1, 0),
    "equal bytes of another shape": ({"p0": WHOLE.reshape(32, -1)}, WHOLE, 1, 0),
    "a share at the start": ({"p0": WHOLE[:6]}, WHOLE, 2, WHOLE[6:].nbytes),
    "a share at the end": ({"p0": WHOLE[6:]}, WHOLE, 2, WHOLE[:6].nbytes),
    "the larger share": ({"p0": WHOLE[:4], "p1": WHOLE[4:]}, WHOLE, 2, WHOLE[:4].nbytes),
    "a slice of another axis": ({"p0": WHOLE[:, :4]}, WHOLE, 1, WHOLE.nbytes),
    "a rest that would not be aligned": ({"p0": drawn(33, 3)[:11]}, drawn(33, 3), 1, 33 * 3 * 4),
    "one value differs": ({"p0": np.where(np.arange(16)[:, None, None, None] == 3, 0, WHOLE)}, WHOLE, 1, WHOLE.nbytes),
    "int8": ({"p0": drawn(512, dtype="int8")[:256]}, drawn(512, dtype="int8"), 2, 256),
    "bool": ({"p0": drawn(512, dtype="bool")[:256]}, drawn(512, dtype="bool"), 2, 256),
    "a scalar": ({"p0": np.float32(2)}, np.float32(2), 1, 0),
    "nothing in it": ({"p0": drawn(0, 3)}, drawn(0, 3), 1, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_found_and_rebuilt(name):
    stored, wanted, pieces, nbytes = CASES[name]
    stored = {k: np.asarray(v) for k, v in stored.items()}
    wanted = np.asarray(wanted)
    made_of, added = share_weights(stored, [("cpu", {"p0": wanted})])
    assert len(made_of["cpu"]["p0"]) == pieces
    assert sum(v.nbytes for v in added.values()) == nbytes
    np.testing.assert_array_equal(rebuilt(made_of["cpu"]["p0"], stored | added, wanted), wanted)


def test_programs_share_with_each_other():
    other = drawn(40, 40)
    made_of, added = share_weights({"p0": WHOLE}, [("cpu", {"p0": other}), ("gpu", {"p0": other, "p1": WHOLE})])
    assert made_of == {"cpu": {"p0": ["cpu.p0"]}, "gpu": {"p0": ["cpu.p0"], "p1": ["p0"]}}
    assert list(added) == ["cpu.p0"]
