"""Rules of operators that sum over dimensions: products, reductions, normalization, attention."""

from collections.abc import Callable, Sequence

from eyehand.inspection.operator_call import Call, Outcome, table, wrapped
from eyehand.inspection.sight import Sight, flood, join, replace_dims, resize, widen


def product(call: Call) -> Outcome:
    """Multiply matrices: the summed dimension is seen whole."""
    added = "mat1" in call.arguments or "batch1" in call.arguments
    left = call.sight("mat1", "batch1", "self")
    right = call.sight("mat2", "batch2")
    if left is not None:
        left = widen(left, [len(left.dims) - 1])
        left = resize(left, (*left.shape[:-1], call.shape[-1]))
    if right is not None:
        right = widen(right, [len(right.dims) - 2])
        right = resize(right, (*right.shape[:-2], call.shape[-2], right.shape[-1]))
    return join([left, right, call.sight("self") if added else None], call.shape)


def reduce(call: Call) -> Outcome:
    """Take the sum, the mean or the greatest over dimensions."""
    if "other" in call.arguments:  # the greater of two tensors
        return join(call.sights(), call.shape)
    (x,) = call.sights()
    indices = wrapped(call.arguments.get("dim"), len(x.dims))
    x = widen(x, indices)
    kept = len(call.shape) == len(x.dims)
    return replace_dims(
        x, [() if i in indices else dim for i, dim in enumerate(x.dims) if kept or i not in indices]
    )


def along(call: Call) -> Outcome:
    """Weigh every element against all along a dimension."""
    (x,) = call.sights()
    return smear(x, wrapped(call.arguments["dim"], len(x.dims)))


def smear(x: Sight, indices: Sequence[int]) -> Sight:
    """Let every element see its own place, and besides all along these dimensions."""
    if not set(indices) & set(x.carrying):
        return x
    joined = join([x, widen(x, indices)], x.shape)
    assert joined is not None
    return joined


def layer_norm(call: Call) -> Outcome:
    """Normalise by the statistics over the last dimensions."""
    count = len(call.arguments["normalized_shape"])
    return _normalized(call, lambda rank: range(rank - count, rank))


def group_norm(call: Call) -> Outcome:
    """Normalise by the statistics over the picture, and some channels."""
    return _normalized(call, lambda rank: range(1, rank))


def batch_norm(call: Call) -> Outcome:
    """Normalise by given statistics; in training, by those over the batch and the picture."""
    if not call.arguments.get("training", "with_update" in call.name):
        return _normalized(call, lambda rank: ())
    return _normalized(call, lambda rank: [index for index in range(rank) if index != 1])


def _normalized(call: Call, summed: Callable[[int], Sequence[int]]) -> Outcome:
    x, others = call.sight("input"), call.sights(but=["input"])
    if x is not None:
        x = smear(x, summed(len(x.dims)))
    first = join([x, *(flood(other, call.shape) for other in others)], call.shape)
    return _with_statistics(first, call)


def attention(call: Call) -> Outcome:
    """Let every query see all keys and values."""
    query = call.sight("query")
    if query is not None:
        query = widen(query, [len(query.dims) - 1])
        query = resize(query, (*query.shape[:-1], call.shape[-1]))
    others = [flood(x, call.shape) for x in call.sights(but=["query"])]
    return _with_statistics(join([query, *others], call.shape), call)


def _with_statistics(first: Sight | None, call: Call) -> Outcome:
    """Return what the outputs see if the others are statistics of the first."""
    return [first] + [None if first is None else flood(first, s) for s in call.shapes[1:]]


def encoder_layer(call: Call) -> Outcome:
    """Run torch's fused transformer layer: tokens see one another."""
    x = call.sight("src")
    assert x is not None
    return smear(widen(x, [2]), [1])


RULES = table(
    (product, "mm bmm addmm baddbmm"),
    (
        reduce,
        "mean sum amax amin max min argmax argmin var std var_mean std_mean prod logsumexp any all "
        "linalg_vector_norm median nanmedian norm nansum count_nonzero aminmax mode kthvalue",
    ),
    (along, "_softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp cummax cummin"),
    (layer_norm, "native_layer_norm _fused_rms_norm"),
    (group_norm, "native_group_norm"),
    (
        batch_norm,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_batch_norm_with_update _batch_norm_no_update cudnn_batch_norm",
    ),
    (
        attention,
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_attention_math _native_multi_head_attention",
    ),
    (encoder_layer, "_transformer_encoder_layer_fwd"),
)
"""Operator to rule."""
