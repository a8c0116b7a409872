"""What a user may say about verifying."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Options from what the user gave: a truth value, a number of plans (or the text of one), or a `Verify`.

    Raises
    ------
    ValueError
        With the rest of a sentence that begins with the option and its value.
    """
    if given is None or given is False:
        return None
    if given is True:
        return Verify()
    if isinstance(given, str) and given.isdigit():
        given = int(given)
    if isinstance(given, int):
        given = Verify(plans=given)
    if not isinstance(given, Verify):
        raise ValueError("must be True, a number of plans, or a measuring.verify.Verify")
    if given.plans < FEWEST_PLANS:
        raise ValueError(f"must be at least {FEWEST_PLANS} plans, one and each device alone")
    if given.repeats < 1:
        raise ValueError("must have repeats of at least 1")
    if given.tracker is not None and not given.key:
        raise ValueError("needs key, the device's key at the tracker")
    return given
