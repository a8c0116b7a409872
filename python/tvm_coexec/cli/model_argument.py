"""The argument MODEL that several commands share, and the shapes of its inputs."""

from __future__ import annotations

import argparse

from tvm_coexec.frontend.input_shapes import OPTION


def add_model(parser: argparse.ArgumentParser, **kwargs: object) -> None:
    """Add MODEL and ``--input-shapes``.

    Parameters
    ----------
    parser : ArgumentParser
    **kwargs
        Arguments of ``add_argument`` for MODEL that replace those for a single model.
    """
    options = {"metavar": "MODEL", "help": "an ONNX file, or the name of a network of the zoo", **kwargs}
    parser.add_argument(options.pop("dest", "model"), **options)  # type: ignore[arg-type]
    parser.add_argument(
        OPTION,
        type=_input_shapes,
        metavar="SHAPES",
        help='shapes of inputs, as in tvmc: "x:[1,3,224,224] y:[1,10]" (default: those in the file)',
    )


def _input_shapes(text: str) -> dict:
    """Parse shapes with TVM's parser, so that coexec and tvmc accept the same text."""
    from tvm.driver.tvmc.shape_parser import parse_shape_string

    return parse_shape_string(text)
