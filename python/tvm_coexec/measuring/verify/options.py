"""What a user may say about verifying."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.core.errors import CoExecError

DEFAULT_PLANS = 5
# A plan, and each device alone.
FEWEST_PLANS = 3


@dataclass(frozen=True)
class Verify:
    """How to verify.

    Attributes
    ----------
    plans : int
        At most so many are built and measured, each device alone always among them.
    repeats : int
        How often each is timed, in turns; the shortest counts.
    tracker : (str, int) or None
        Host and port of TVM's RPC tracker, for devices of another machine.
    key : str
        The device's key at the tracker.
    """

    plans: int = DEFAULT_PLANS
    repeats: int = 7
    tracker: tuple[str, int] | None = None
    key: str = ""


def check_verify(given: object) -> Verify | None:
    """Options from what the user gave: a truth value, a number of plans, or a `Verify`.

    Raises
    ------
    CoExecError
        One sentence that names the option.
    """
    if given is None or given is False:
        return None
    if given is True:
        return Verify()
    if isinstance(given, int):
        given = Verify(plans=given)
    if not isinstance(given, Verify):
        raise CoExecError(f"verify {given!r} must be True, a number of plans, or a verifying.Verify")
    if given.plans < FEWEST_PLANS:
        raise CoExecError(
            f"verify {given.plans}: at least {FEWEST_PLANS} plans are measured, one and each device alone; give more"
        )
    if given.repeats < 1:
        raise CoExecError(f"verify: repeats {given.repeats} must be at least 1")
    if given.tracker is not None and not given.key:
        raise CoExecError("verify: a tracker needs key, the device's key at the tracker")
    return given
