"""The sections about time: meetings, a profile, a planned network and its timeline."""

from __future__ import annotations

from scripts.device_check.job import NETWORKS, SMALL, Job

PROFILED = NETWORKS[0]


def planned_network(job: Job) -> str:
    """Return the name of the network that is profiled and planned."""
    return SMALL if job.quick else PROFILED


def meeting(job: Job) -> None:
    """Time of a run beyond the longer of the two shares, by size of the tensor, as ``benchmarks.meeting`` has it."""
    from benchmarks.meeting import CHANNELS, meetings

    rows = job.numbers["rows"] = []
    for size, channels in CHANNELS.items():
        job.stage(f"meetings of {size}")
        rows += meetings(job.bed, quick=True, sizes={size: channels}, gpu=job.gpu)
        if job.quick:
            break
    job.numbers["wait_method"] = job.runtime.wait_method()


def profile(job: Job) -> None:
    """Measure some kernels of one network on both devices, and fit a profile to them."""
    from tvm_coexec.cost_models.dataset import read_samples
    from tvm_coexec.cost_models.fit_profile import fit_profile
    from tvm_coexec.measuring.collect.collector import NO_LAUNCH, Options, collect
    from tvm_coexec.measuring.read_model import Model

    name = planned_network(job)
    job.stage(f"reading {name}")
    net = job.network(name)
    bed = job.bed.bed
    # Most kernels whole and few shares; what is not started within the budget is left out.
    options = Options(
        cpu=job.cpu_target,
        gpu=job.gpu,
        cuts=0 if job.quick else 1,
        budget_s=job.budget_s * 0.4,
        networks=not job.quick,
        contention=not job.quick,
        compile_timeout_s=30.0,
        bed=bed if bed.pocl else None,
        repeats=3 if job.quick else 5,
        min_repeat_ms=1 if job.quick else 3,
    )
    file = job.folder / "samples.jsonl"
    file.unlink(missing_ok=True)
    job.stage("measuring kernels")
    done = collect([Model(name, net.mod, net.params or {})], str(file), options)
    job.numbers |= {"measured": done.measured, "left": done.left, "load": done.load, "measuring_s": done.seconds}
    failed = [text for text in done.failed if not text.endswith(NO_LAUNCH)]
    job.numbers["failed"] = failed
    if failed:
        job.wrong.append(f"{len(failed)} of {done.measured} kernels failed, the first: {failed[0]}")
    job.stage("fitting")
    samples = read_samples(str(file))
    fitted = fit_profile(samples, description=f"device check, {len(samples.usable)} samples of {name}")
    fitted.save(str(job.folder / "profile.json"))
    job.numbers["rows"] = _slowest(samples.usable)
    job.numbers["cross_validated_error"] = fitted.error
    job.numbers["copies"], job.numbers["round_trips"] = samples.links[:8], samples.round_trips


def _slowest(samples: list, count: int = 12) -> list[dict]:
    """Rows of the kernels that take longest, whole, on each device."""
    rows: dict[str, dict] = {}
    for s in samples:
        if s.rows is None:
            rows.setdefault(s.kernel, {"kernel": s.kernel[:48], "cpu_us": None, "gpu_us": None})
            rows[s.kernel][f"{s.device}_us"] = s.seconds * 1e6
    longest = sorted(rows.values(), key=lambda r: -max(r["cpu_us"] or 0.0, r["gpu_us"] or 0.0))
    return longest[:count]


def plan(job: Job) -> None:
    """Plan one network with the profile of this device, check it, and time it against each device alone."""
    import tvm_coexec
    from benchmarks import _modules
    from benchmarks._compare import compare_with_alone
    from tvm_coexec.cost_models import shipped
    from tvm_coexec.pass_context import deployment_context

    name, own = planned_network(job), job.folder / "profile.json"
    costs = str(own) if own.exists() else shipped.GENERIC
    job.numbers["profile"] = "of this device" if own.exists() else f"{costs}, because there is none of this device"
    job.stage(f"building {name}")
    net = job.network(name)
    job.stage(f"planning {name}")
    partition = tvm_coexec.CoExecPartition(job.cpu_target, job.gpu, params=net.params, profile=costs)
    with deployment_context():
        made = tvm_coexec.plan_of(partition(net.mod))
    report = partition.report
    if made is None:
        raise tvm_coexec.CoExecError(report.summary())
    made.save(str(job.folder / "plan.json"))
    job.numbers |= {"summary": report.summary(), "expected_alone_s": report.alone_s()}
    job.numbers["report"] = report.to_text().splitlines()
    job.stage(f"compiling {name} by its plan")
    lib = tvm_coexec.build(net.mod, net.params, cpu=job.cpu_target, gpu=job.gpu, plan=str(job.folder / "plan.json"))
    if made.chains:
        lib.export_library(str(job.work / "planned.so"))
    both = _modules.Runner("both", tvm_coexec.create(lib), net.inputs)
    job.stage(f"timing {name} on each device alone and on both")
    compared = compare_with_alone(net, both, job.bed, 3 if job.quick else 7, job.cpu_target, gpu=job.gpu)
    job.numbers["rows"] = [compared.row | {"expected_ms": report.expected_s * 1e3, "chains": len(made.chains)}]
    for device in ("gpu", "both"):
        error = job.compare(f"{name} ({device})", compared.outputs[device], compared.outputs["cpu"])
        job.numbers[f"{device}_error"] = error


def timeline(job: Job) -> None:
    """Record runs of the planned network, if its plan splits something, and of one with every operator split."""
    import tvm_coexec  # noqa: F401  # registers the runtime
    from tvm_coexec.tracing import record, table
    from tvm_coexec.tracing.load import open_model, random_inputs
    from tvm_coexec.tracing.outputs import Outputs

    halves = [job.library(n) for n in job.networks if job.library(n).exists()][:1]
    choices = [("timeline", job.work / "planned.so"), *(("timeline_halves", h) for h in halves)]
    drawn = False
    for name, library in choices:
        if not library.exists():
            continue
        job.stage(f"recording {library.stem}")
        lib = open_model(str(library))
        recording = record(lib, random_inputs(lib, 0), 3 if job.quick else 10, 3, ready=job.bed.pin)
        text = table(recording, library.stem)
        job.numbers[name] = text.splitlines()
        base = str(job.folder / name)
        png = f"{base}.png" if _has_matplotlib() else None
        job.stage(f"drawing {library.stem}")
        outputs = Outputs(trace=f"{base}.trace.json", png=png, html=f"{base}.html", json=f"{base}.json")
        outputs.write(recording, library.stem)
        drawn = True
        if recording.spans.dropped:
            job.wrong.append(f"the recorder of {library.stem} was full: {recording.spans.dropped} events were lost")
    if not drawn:
        job.wrong.append("no compiled network is left to record")


def _has_matplotlib() -> bool:
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None
