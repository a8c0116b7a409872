"""The argument MODEL of several commands, and the shapes of its inputs."""

from __future__ import annotations

import argparse

from tvm_coexec.frontend.input_shapes import OPTION


def add_model(parser: argparse.ArgumentParser, **kwargs: object) -> None:
    """Add MODEL and ``--input-shapes``.

    Parameters
    ----------
    parser : ArgumentParser
    **kwargs
        Of ``add_argument`` for MODEL, in place of what is for one model.
    """
    options = {"metavar": "MODEL", "help": "ONNX file, or name of a network of the zoo", **kwargs}
    parser.add_argument(options.pop("dest", "model"), **options)  # type: ignore[arg-type]
    parser.add_argument(
        OPTION,
        type=_input_shapes,
        metavar="SHAPES",
        help='sizes of inputs, as tvmc takes them: "x:[1,3,224,224] y:[1,10]" (default: those of the file)',
    )


def _input_shapes(text: str) -> dict:
    """TVM's parser, so that both commands take the same texts."""
    from tvm.driver.tvmc.shape_parser import parse_shape_string

    return parse_shape_string(text)
