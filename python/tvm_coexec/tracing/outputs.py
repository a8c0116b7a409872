"""Output files of a recording, as the commands' options name them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tvm_coexec.core.files import write_atomically

from .chrome import write_chrome
from .pictures import draw_run
from .record import Recording
from .table import expected_numbers, numbers, segment_rows, table


@dataclass(frozen=True)
class Outputs:
    """Paths of output files; `None` for those that were not requested.

    Attributes
    ----------
    trace : str, optional
        Trace TraceEvent JSON, for Perfetto.
    png, html : str, optional
        Both timelines as an image, and as a page with the table.
    json : str, optional
        The table's numbers.
    """

    trace: str | None = None
    png: str | None = None
    html: str | None = None
    json: str | None = None

    def write(self, recording: Recording, name: str) -> list[str]:
        """Write the requested files.

        Parameters
        ----------
        recording : Recording
        name : str
            Name of the model.

        Returns
        -------
        list of str
            One line per file, for the user.
        """
        lines = []
        if self.trace:
            write_chrome(recording, self.trace, name)
            lines.append(f"{self.trace}: the trace, for ui.perfetto.dev or chrome://tracing")
        if self.png or self.html:
            from tvm_coexec.drawing import write_html, write_png

            drawing = draw_run(recording, name)
            if self.png:
                write_png(drawing, self.png)
                lines.append(f"{self.png}: both timelines")
            if self.html:
                write_html(drawing, self.html, table(recording, name))
                lines.append(f"{self.html}: both timelines, and the table")
        if self.json:
            write_atomically(self.json, json.dumps(_content(recording, name), indent=1) + "\n")
            lines.append(f"{self.json}: the numbers")
        return lines


def _content(recording: Recording, name: str) -> dict[str, object]:
    return {
        "model": name,
        "runs_s": recording.seconds,
        "measured": numbers(recording.measured),
        "expected": expected_numbers(recording),
        "segments": segment_rows(recording),
        "gpu_clock_uncertainty_s": recording.measured.uncertainty_s,
        "dropped": recording.spans.dropped,
    }
