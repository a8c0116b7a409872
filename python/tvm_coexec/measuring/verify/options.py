"""Options of verifying."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_coexec.remote import Server
from tvm_coexec.remote.tracker import default_tracker

DEFAULT_PLANS = 6
# A plan, and each device alone.
FEWEST_PLANS = 3


@dataclass(frozen=True)
class Verify:
    """Options of verifying.

    Attributes
    ----------
    plans : int
        Maximum number of plans to measure, including each device alone.
    repeats : int
        Number of timings of each plan, in turns; the median is used.
    tracker : (str, int) or None
        Host and port of TVM's RPC tracker, for devices of another machine; by default, with `key`, from
        ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT``.
    key : str
        The device's key at the tracker.
    address : str or None
        ``HOST:PORT`` of an RPC server, instead of a tracker.
    """

    plans: int = DEFAULT_PLANS
    repeats: int = 7
    tracker: tuple[str, int] | None = None
    key: str = ""
    address: str | None = None

    @property
    def server(self) -> Server | None:
        """RPC server of the devices; `None` for this machine's."""
        if self.address is not None:
            return Server(self.address)
        if not self.key:
            return None
        return Server(None, None if self.tracker is None else "{}:{}".format(*self.tracker), self.key)


def check_verify(given: object) -> Verify | None:
    """Convert the user's value: a bool, a number of plans (or its text), or a `Verify`.

    Raises
    ------
    ValueError
        The text continues a sentence that starts with the option and its value.
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
    if given.tracker is not None and given.address is not None:
        raise ValueError("must have a tracker or an address, not both")
    if given.key and given.address is not None:
        raise ValueError("must have a key with a tracker, not with an address")
    if given.key and given.tracker is None and default_tracker() is None:
        raise ValueError("needs tracker, where the device has that key, or TVM_TRACKER_HOST and TVM_TRACKER_PORT")
    return given
