"""What every model promises that PyTorch fits: accuracy on what it was fitted to, other devices, files, errors."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest
from scipy.stats import kendalltau

from tests.cost_models.kernels import many, seconds_of
from tests.cost_models.models import graph_fits
from tests.cost_models.models.conftest import ROOT
from tests.cost_models.models.graph_fits import KERNEL_NAMES, NETWORK_NAMES, SLOWER, network_seconds, networks
from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import MODELS, NETWORK_MODELS, Profile, Workload, describe, load_model, load_network_model
from tvm_coexec.cost_models.models.graph import HELP
from tvm_coexec.planner import make_plan

pytestmark = pytest.mark.predictors

GRAPHS = networks()
SECONDS = network_seconds(GRAPHS)
NEW = networks(30, seed=5)


def error(found, measured) -> float:
    """Median relative error."""
    return float(np.median(np.abs(found / measured - 1)))


@pytest.fixture(params=NETWORK_NAMES)
def network_model(request, graph_files):
    return load_network_model(graph_files[0] / f"{request.param}.networks")


def test_all_files_are_the_same_from_another_process(graph_files):
    first, second = graph_files
    names = sorted(p.name for p in first.iterdir())
    assert len(names) == len(KERNEL_NAMES) + len(NETWORK_NAMES) + 7
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []


def test_networks_are_predicted(network_model):
    found = network_model.predict(GRAPHS)
    assert error(found, SECONDS) < (0.2 if network_model.name == "brp_nas_rank" else 0.1)
    assert kendalltau(network_model.predict(NEW), network_seconds(NEW))[0] > 0.7
    assert network_model.predict([]).shape == (0,)


def test_one_network_and_many_are_the_same(network_model):
    together = network_model.predict(GRAPHS)
    one_by_one = [network_model.predict([g])[0] for g in GRAPHS[::7]]
    np.testing.assert_array_equal(one_by_one, together[::7])
    np.testing.assert_array_equal(network_model.predict(GRAPHS[::-1])[::-1], together)


def test_network_files_are_exact(network_model, tmp_path):
    network_model.save(tmp_path / "m")
    loaded = load_network_model(tmp_path / "m")
    assert type(loaded) is type(network_model) and loaded.to_bytes() == network_model.to_bytes()
    assert (tmp_path / "m").stat().st_size == network_model.nbytes
    np.testing.assert_array_equal(loaded.predict(GRAPHS), network_model.predict(GRAPHS))
    with pytest.raises(CoExecError, match="m is not a latency model"):
        load_model(tmp_path / "m")


def test_wrong_networks(network_model):
    with pytest.raises(CoExecError, match="not fitted"):
        type(network_model)().predict(GRAPHS)
    for some, seconds, message in (
        ([], [], "no measured networks"),
        (GRAPHS[:2], [1.0], "2 networks but 1"),
        (GRAPHS[:1], [-1.0], "positive"),
    ):
        with pytest.raises(CoExecError, match=message):
            type(network_model)().fit(some, np.array(seconds))


def test_predicting_needs_neither_pytorch_nor_lightgbm(graph_files):
    code = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightgbm"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())
from pathlib import Path
from tests.cost_models.kernels import many
from tests.cost_models.models.graph_fits import KERNEL_NAMES, NETWORK_NAMES, networks
from tvm_coexec.cost_models import *
folder = Path({str(graph_files[0])!r})
for name in KERNEL_NAMES:
    load_model(folder / f"{{name}}.kernels").predict(many())
for name in NETWORK_NAMES:
    load_network_model(folder / f"{{name}}.networks").predict(networks(3))
for name in KERNEL_NAMES:
    try:
        MODELS[name](*[{{"epochs": 1}}] * (name not in ("help", "tpu"))).fit(many(), [1e-3] * len(many()))
    except Exception as err:
        print(type(err).__name__, err)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(KERNEL_NAMES)
    assert all(line.startswith("CoExecError") and "tvm-coexec[predictors]" in line for line in lines), done.stdout


def test_a_profile_of_graph_models_plans(graph_files):
    profile = Profile.load(graph_files[0] / "nnlqp.profile")
    model = profile.devices["gpu"].model
    assert model.device == "gpu" and model.parameters == graph_fits.PARAMETERS.to_json()
    kernel = graphs.conv_kernel(0, (-1,))
    assert profile.whole_s("gpu", kernel) == model.predict(describe(kernel, "gpu"))[0]
    with pytest.raises(CoExecError, match="transposed_conv"):
        model.predict(Workload("transposed_conv"))
    assert profile.devices["gpu"].predict(Workload("transposed_conv", flops=1e6)).shape == (1,)  # by the roofline
    plan = make_plan(graphs.straight(3), profile)
    assert plan.segments and plan.to_json() == make_plan(graphs.straight(3), profile).to_json()


def test_fitting_ends_at_its_limit_of_time(graph_files):
    text = (graph_files[0] / "limit.log").read_text()
    assert text.startswith("fitting tpu ended after 3 of 600 steps, at its limit of 0 s") and text.count("\n") == 1


def test_rankings_are_a_relation(graph_files):
    model = load_network_model(graph_files[0] / "brp_nas_rank.networks")
    slower = model.compare(NEW)
    np.testing.assert_allclose(slower + slower.T, 1.0)
    order = model.rank(NEW)
    assert sorted(order) == list(range(len(NEW)))
    assert kendalltau(np.argsort(order), network_seconds(NEW))[0] > 0.7


def test_help_moves_to_a_device_with_its_references_alone(graph_files):
    kernels = many()
    measured = graph_fits.other_device(seconds_of(kernels))
    first, adapted = (load_model(graph_files[0] / f"help.{n}") for n in ("devices", "adapted"))
    assert isinstance(adapted, HELP) and len(adapted.references_) == 10
    assert error(first.predict(kernels), seconds_of(kernels)) < 0.15
    # a factor that fits the references is the least that a model must be better than
    scale = np.median(measured / first.predict(kernels))
    assert error(adapted.predict(kernels), measured) < min(0.25, error(scale * first.predict(kernels), measured))


def test_networks_on_another_device(graph_files):
    measured = network_seconds(NEW, *SLOWER)
    for name in ("nnlqp", "gpu_graph"):
        adapted = load_network_model(graph_files[0] / f"{name}.adapted")
        assert error(adapted.predict(NEW), measured) < 0.15
    shared = load_network_model(graph_files[0] / "nnlqp.devices")
    fast = shared.for_device("fast").predict(NEW)
    ratio = shared.for_device("slow").predict(NEW) / fast
    assert np.median(ratio) == pytest.approx(2.0, rel=0.1)
    adapted = load_network_model(graph_files[0] / "nnlqp.adapted")
    assert list(adapted.devices_) == ["fast", "slow", "new"] and adapted.device == "new"
    with pytest.raises(CoExecError, match="no device 'phone'; it has: fast, slow, new"):
        adapted.for_device("phone")


def damaged_versions(content: bytes):
    """Damaged copies of an npz: truncated, another version, without an array, with another shape, with NaN."""
    yield content[: len(content) // 2]
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {n: np.lib.format.read_array(archive.open(n), allow_pickle=False) for n in archive.namelist()}
    header = json.loads(members["header.npy"].tobytes())
    name = sorted(n for n in header["arrays"] if n.endswith(".w") or n.endswith(".hh"))[0]
    at = f"arrays/{name}.npy"

    def written(header=header, **changes) -> bytes:
        text = json.dumps(header).encode()
        kept = {**members, "header.npy": np.frombuffer(text, np.uint8), **changes}
        buffer = BytesIO()
        np.savez(buffer, **{n.removesuffix(".npy"): a for n, a in kept.items() if a is not None})
        return buffer.getvalue()

    yield written(header={**header, "version": 99})
    yield written(**{at: None})
    yield written(**{at: members[at][:-1]})
    shorter = {**header["arrays"], name: ["float32", list(members[at][:-1].shape)]}
    yield written(header={**header, "arrays": shorter}, **{at: members[at][:-1]})
    spoilt = members[at].copy()
    spoilt.flat[0] = np.nan
    yield written(**{at: spoilt})
    yield written(header={**header, "model": "crystal ball"})
    yield written(header={k: v for k, v in header.items() if k != "arrays"})
    yield written(**{"header.npy": None})


@pytest.mark.parametrize("name", [f"{n}.kernels" for n in KERNEL_NAMES] + [f"{n}.networks" for n in NETWORK_NAMES])
def test_damaged_npz(graph_files, tmp_path, name):
    path, load = tmp_path / "model.npz", load_model if name.endswith("kernels") else load_network_model
    for content in damaged_versions((graph_files[0] / name).read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CoExecError, match=r"model\.npz") as raised:
            load(path)
        assert str(raised.value).count("\n") == 0
    with pytest.raises(CoExecError, match=r"nowhere\.npz"):
        load(tmp_path / "nowhere.npz")


def test_every_model_is_known_by_name():
    assert set(KERNEL_NAMES) <= set(MODELS) and set(NETWORK_NAMES) <= set(NETWORK_MODELS)
    assert KERNEL_NAMES == ["brp_nas", "gpu_graph", "help", "lstm_lightgbm", "nnlqp", "tpu"]
