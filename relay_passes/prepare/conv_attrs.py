"""Complete the attributes of convolutions whose kernel size and channels follow from their weights.

Both attributes are optional in Relay, and type inference does not set them, but TVM's layout passes, which run on each
share, fail without them.
"""

from __future__ import annotations

import inspect

import tvm
from tvm import relay

from tvm_coexec.core.op_kinds import OpKind

from ..rules import attr_names, kind_of


def is_incomplete(call: relay.Call) -> bool:
    """Whether a call is a convolution without kernel size or channels."""
    is_conv = kind_of(call) in (OpKind.CONV, OpKind.TRANSPOSED_CONV)
    return is_conv and (call.attrs.kernel_size is None or call.attrs.channels is None)


@relay.transform.function_pass(opt_level=0, name="CoExecCompleteConvAttrs")
class CompleteConvAttrs:
    """Fill in `kernel_size` and `channels` from the shape of the weights; types must be inferred."""

    def transform_function(
        self, func: relay.Function, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> relay.Function:
        """Return the function with complete convolutions."""
        return _Completer().visit(func)


class _Completer(relay.ExprMutator):
    def visit_call(self, call: relay.Call) -> relay.Expr:
        new = super().visit_call(call)
        if not is_incomplete(call):
            return new
        weight = dict(zip(_letters(call), call.args[1].checked_type.shape, strict=True))
        make = getattr(relay.nn, call.op.name.removeprefix("nn."))
        known = inspect.signature(make).parameters
        attrs = {name: getattr(call.attrs, name) for name in attr_names(call) if name in known}
        attrs["kernel_size"] = tuple(int(weight[axis]) for axis in "DHW" if axis in weight)
        attrs["channels"] = int(call.checked_type.shape[str(call.attrs.data_layout).index("C")])
        return make(*new.args, **attrs)


def _letters(call: relay.Call) -> str:
    """Return the letters of the weights' dimensions."""
    layout = str(call.attrs.kernel_layout)
    return layout if layout.isalpha() else "OI" + "DHW"[2 - len(call.args[1].checked_type.shape) :]
