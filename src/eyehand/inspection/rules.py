"""How each operator of torch moves what its inputs see into its outputs, along one axis.

Those that torch tags as pointwise need no entry. Padding that repeats the picture (reflection,
replication) counts as padding: what a cell sees in the mirror is not counted.
"""

from functools import cache

import torch

from eyehand.inspection import sum_rules, view_rules, window_rules
from eyehand.inspection.operator_call import Call, Outcome, Rule, table
from eyehand.inspection.sight import flood, join


@cache
def find_rule(name: str) -> Rule | None:
    """Return the rule of an operator, or None.

    Example:
        >>> find_rule("relu").__name__, find_rule("convolution").__name__, find_rule("unheard_of")
        ('pointwise', 'convolution', None)
    """
    if name in RULES:
        return RULES[name]
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return None
    overloads = [getattr(packet, overload) for overload in packet.overloads()]
    return pointwise if any(torch.Tag.pointwise in one.tags for one in overloads) else None


def pointwise(call: Call) -> Outcome:
    """Every element sees what its counterparts in the inputs see, broadcast."""
    return join(call.sights(), call.shape)


def overwrite(call: Call) -> Outcome:
    """Every element sees what its counterpart in the new values sees."""
    return join(call.sights(but=["self"]), call.shape)


def constant(call: Call) -> Outcome:
    """Nothing of the values of the inputs is used."""
    return None


def everywhere(call: Call) -> Outcome:
    """Where things go is not followed: every element may see all that the inputs see."""
    return [join([flood(x, shape) for x in call.sights()], shape) for shape in call.shapes]


RULES: dict[str, Rule] = {
    **table(
        (
            pointwise,
            "clone _to_copy detach alias lift_fresh hardswish _prelu_kernel rrelu_with_noise "
            "native_dropout bernoulli expand tril triu masked_fill where",
        ),
        (overwrite, "copy fill"),
        (
            constant,
            "zeros_like ones_like empty_like full_like rand_like randn_like zero new_empty "
            "new_zeros new_ones new_full new_empty_strided normal uniform random",
        ),
        (
            everywhere,
            "index_put scatter scatter_add scatter_reduce index_add index_copy masked_scatter "
            "slice_scatter select_scatter masked_select nonzero _cdist_forward dot mv addmv "
            "grid_sampler_2d grid_sampler_3d max_unpool2d max_unpool3d as_strided diagonal "
            "mkldnn_rnn_layer _fft_r2c _fft_c2r _fft_c2c linalg_qr _linalg_svd linalg_inv_ex",
        ),
    ),
    **window_rules.RULES,
    **sum_rules.RULES,
    **view_rules.RULES,
}
"""Operator to rule."""
