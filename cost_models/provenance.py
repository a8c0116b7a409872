"""Where a profile's numbers come from: when, with which schedules, and on devices of which pace it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .dataset import Samples

_DIGITS = 12  # of a digest in text


@dataclass(frozen=True)
class Provenance:
    """Origin of a profile's samples.

    Attributes
    ----------
    measured_at : str
        When measuring began, as ISO 8601 without a time zone; empty if the dataset does not say.
    schedules : str
        Digest of the OpenCL schedules that the kernels were compiled with; empty if unknown.
    tvm : str
        TVM's version.
    reference_s : mapping of str to float
        Pace of the devices: shortest seconds of the reference kernel, by device.
    """

    measured_at: str = ""
    schedules: str = ""
    tvm: str = ""
    reference_s: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of_samples(samples: Samples) -> Provenance:
        """Return what a dataset's header and references say."""
        header = samples.header
        started, schedules, tvm = (str(header.get(n) or "") for n in ("started", "schedules", "tvm"))
        return Provenance(started, schedules, tvm, {d: float(f"{s:.4g}") for d, s in samples.references.items()})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values of what is known; empty if nothing is."""
        d: dict[str, Any] = {"measured_at": self.measured_at, "schedules": self.schedules, "tvm": self.tvm}
        d["reference_s"] = dict(self.reference_s)
        return {n: v for n, v in d.items() if v}

    @staticmethod
    def from_json(d: Mapping[str, Any]) -> Provenance:
        """Read the values of `to_json`; raise `TypeError`, `ValueError` or `AttributeError` for others."""
        if unknown := sorted(set(d) - set(Provenance.__dataclass_fields__)):
            raise ValueError(f"origin has the unknown key {unknown[0]!r}")
        if at := str(d.get("measured_at", "")):
            datetime.fromisoformat(at)
        references = {str(n): float(s) for n, s in d.get("reference_s", {}).items()}
        if not all(0 < s < float("inf") for s in references.values()):
            raise ValueError(f"origin has the reference times {references}")
        return Provenance(at, str(d.get("schedules", "")), str(d.get("tvm", "")), references)

    def age_days(self, now: datetime | None = None) -> int | None:
        """Return the days since measuring began, at least 0; `None` if unknown."""
        if not self.measured_at:
            return None
        return max(0, ((now or datetime.now()) - datetime.fromisoformat(self.measured_at).replace(tzinfo=None)).days)

    def to_text(self, now: datetime | None = None) -> str:
        """Describe it in one line, for reports; empty if nothing is known."""
        parts = []
        days = self.age_days(now)
        if days is not None:
            parts.append(f"measured {self.measured_at[:10]} ({days} day{'' if days == 1 else 's'} ago)")
        if self.schedules:
            parts.append(f"schedules {self.schedules[:_DIGITS]}")
        if self.tvm:
            parts.append(f"TVM {self.tvm}")
        if self.reference_s:
            pace = ", ".join(f"{d} {s * 1e3:.3f} ms" for d, s in sorted(self.reference_s.items()))
            parts.append(f"reference kernel {pace}")
        return "; ".join(parts)

    def differs_in_schedules(self, digest: str) -> bool:
        """Whether the samples were measured with other schedules than those of a digest; unknown ones do not differ."""
        return bool(self.schedules and digest and self.schedules != digest)
