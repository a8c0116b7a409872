"""A drawing as one self-contained HTML file without scripts, which is also well-formed XML."""

from __future__ import annotations

from tvm_coexec.core.files import write_atomically

from .planned import Drawing
from .svg import clean, svg_of

_STYLE = (
    "body{font:14px/1.4 Helvetica,Arial,sans-serif;color:#222;margin:20px auto;max-width:1320px;padding:0 12px}"
    "h1{font-size:19px}h2{font-size:15px;margin:22px 0 6px}div{overflow-x:auto}"
    "pre{font-size:12px;overflow-x:auto;background:#f6f6f6;padding:10px}"
    "g[data-kernel]:hover,g[data-what]:hover{opacity:.75}g[data-value]:hover path{stroke:#c8395f;stroke-width:2.5}"
)


def html_of(drawing: Drawing, report: str = "") -> str:
    """Return the page; `report` is appended unchanged, in a fixed-width font."""
    parts = [f"<h2>{clean(heading)}</h2>\n<div>\n{svg_of(scene)}\n</div>" for heading, scene in drawing.scenes]
    if report:
        parts.append(f"<h2>Report</h2>\n<pre>{clean(report)}</pre>")
    return (
        '<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f"<title>{clean(drawing.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{clean(drawing.title)}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def write_html(drawing: Drawing, path: str, report: str = "") -> None:
    """Write the page; the file is replaced as a whole or not at all. `CoExecError` names an unwritable path."""
    write_atomically(path, html_of(drawing, report))
