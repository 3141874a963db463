"""Rules of operators that move things about: views, slices, joins, padding, indexing."""

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from eyehand.inspection.dimension import Factor
from eyehand.inspection.operator_call import Call, Outcome, table, wrapped
from eyehand.inspection.sight import (
    Sight,
    concatenate,
    expand,
    flip,
    flood,
    join,
    pick,
    place,
    read,
    replace_dims,
    reshape,
    resize,
    take,
    widen,
)


def view(call: Call) -> Outcome:
    """Split and merge dimensions."""
    (x,) = call.sights()
    if math.prod(call.shape) != math.prod(x.shape):  # another type of number on the same bytes
        return flood(x, call.shape)
    return reshape(x, call.shape)


def permute(call: Call) -> Outcome:
    """Reorder dimensions."""
    (x,) = call.sights()
    rank = len(x.dims)
    order = list(range(rank))
    if call.name == "permute":
        order = [index % rank for index in call.arguments["dims"]]
    elif call.name == "t":
        order.reverse()
    else:
        one, other = call.arguments["dim0"], call.arguments["dim1"]
        order[one], order[other] = order[other], order[one]
    return replace_dims(x, [x.dims[index] for index in order])


def squeeze(call: Call) -> Outcome:
    """Drop dimensions of size 1."""
    (x,) = call.sights()
    named = wrapped(call.arguments.get("dim"), len(x.dims))
    return replace_dims(
        x, [dim for i, dim in enumerate(x.dims) if i not in named or x.shape[i] > 1]
    )


def unsqueeze(call: Call) -> Outcome:
    """Insert a dimension of size 1."""
    (x,) = call.sights()
    return _opened(x, call.arguments["dim"] % (len(x.dims) + 1))


def _opened(x: Sight, index: int) -> Sight:
    return replace_dims(x, [*x.dims[:index], (), *x.dims[index:]])


def select(call: Call) -> Outcome:
    """Take one position of a dimension."""
    (x,) = call.sights()
    (index,) = wrapped(call.arguments["dim"], len(x.dims))
    return pick(x, index, call.arguments["index"] % x.shape[index])


def slice_(call: Call) -> Outcome:
    """Take a range of a dimension."""
    (x,) = call.sights()
    (index,) = wrapped(call.arguments["dim"], len(x.dims))
    bounds = slice(call.arguments["start"], call.arguments["end"], call.arguments["step"])
    start, _, step = bounds.indices(x.shape[index])
    return take(x, index, start, call.shape[index], step=step)


def split(call: Call) -> Outcome:
    """Cut a dimension into ranges."""
    (x,) = call.sights()
    (index,) = wrapped(call.arguments["dim"], len(x.dims))
    parts: list[Sight | None] = []
    start = 0
    for shape in call.shapes:
        parts.append(take(x, index, start, shape[index]))
        start += shape[index]
    return parts


def unbind(call: Call) -> Outcome:
    """Take each position of a dimension."""
    (x,) = call.sights()
    (index,) = wrapped(call.arguments["dim"], len(x.dims))
    return [pick(x, index, position) for position in range(x.shape[index])]


def cat(call: Call) -> Outcome:
    """Put tensors one behind the other."""
    tensors: Sequence[Tensor] = call.arguments["tensors"]
    (index,) = wrapped(call.arguments["dim"], len(call.shape))
    if call.name == "stack":
        seen = [call.look_up(tensor) for tensor in tensors]
        return concatenate([(None if x is None else _opened(x, index), 1) for x in seen], index)
    # torch lets an empty vector pass among tensors of any rank.
    full = [tensor for tensor in tensors if tensor.ndim == len(call.shape)]
    return concatenate([(call.look_up(tensor), tensor.shape[index]) for tensor in full], index)


def pad(call: Call) -> Outcome:
    """Add cells around a map, or cut some off where a number is negative."""
    x = call.sight("self")
    assert x is not None
    padding = call.arguments["pad" if "pad" in call.arguments else "padding"]
    for axis in range(len(padding) // 2):
        index, before = len(x.dims) - 1 - axis, padding[2 * axis]
        if before < 0:
            x = take(x, index, -before, x.shape[index] + before)
        size = call.shape[index]
        x = place(x, index, max(before, 0), max(size, x.shape[index] + max(before, 0)))
        x = take(x, index, 0, size)
    return x


def turn(call: Call) -> Outcome:
    """Reverse dimensions."""
    (x,) = call.sights()
    for index in wrapped(call.arguments["dims"], len(x.dims)):
        x = flip(x, index)
    return x


def mix(call: Call) -> Outcome:
    """Take elements of a dimension from anywhere along it."""
    x, others = call.sight("self"), call.sights(but=["self"])
    if x is not None:
        dims = call.arguments["dims" if "dims" in call.arguments else "dim"]
        x = widen(x, wrapped(dims, len(x.dims)))
        for index, size in enumerate(call.shape):
            x = take(x, index, 0, size)
    return join([x, *(flood(other, call.shape) for other in others)], call.shape)


def index_(call: Call) -> Outcome:
    """Take the positions of a list along one dimension; from anywhere in every other case."""
    x = call.sight("self")
    indices = call.arguments["indices" if call.name == "index" else "index"]
    if call.name == "index_select":
        (index,) = wrapped(call.arguments["dim"], len(call.shape))
        used = [(index, indices)]
    else:
        used = [(i, tensor) for i, tensor in enumerate(indices) if tensor is not None]
    (index, chosen), alone = used[0], len(used) == 1
    plain = chosen.ndim == 1 and chosen.dtype != torch.bool and call.look_up(chosen) is None
    if x is None or not (alone and plain and len(chosen)):
        return join([flood(seen, call.shape) for seen in call.sights()], call.shape)
    if index not in x.carrying:
        return resize(x, call.shape)
    places = [place % x.shape[index] for place in chosen.tolist()]
    stride = Fraction(places[-1] - places[0], max(len(places) - 1, 1))
    return read(x, index, [(place, place) for place in places], stride=stride)


def embedding(call: Call) -> Outcome:
    """Look rows of a table up."""
    weight, indices = call.sight("weight"), call.sight("indices")
    weight = None if weight is None else flood(weight, call.shape)
    indices = None if indices is None else _opened(indices, len(indices.dims))
    return join([weight, indices], call.shape)


def repeat_(call: Call) -> Outcome:
    """Tile a tensor."""
    (x,) = call.sights()
    repeats = call.arguments["repeats"]
    x = expand(x, [*[1] * (len(repeats) - len(x.dims)), *x.shape])
    return replace_dims(
        x, [(Factor(n, Fraction(0)), *dim) for n, dim in zip(repeats, x.dims, strict=True)]
    )


def shuffle(call: Call) -> Outcome:
    """Move channels into the picture, the picture into channels, or channels among themselves."""
    (x,) = call.sights()
    *batch, channels, height, width = x.shape
    n = len(batch)
    if "channel" in call.name:
        groups = call.arguments["groups"]
        x = reshape(x, (*batch, groups, channels // groups, height, width))
        order = [1, 0, 2, 3]
    elif call.name == "pixel_shuffle":
        r = call.arguments["upscale_factor"]
        x = reshape(x, (*batch, channels // r**2, r, r, height, width))
        order = [0, 3, 1, 4, 2]
    else:
        r = call.arguments["downscale_factor"]
        x = reshape(x, (*batch, channels, height // r, r, width // r, r))
        order = [0, 2, 4, 1, 3]
    dims = [*x.dims[:n], *(x.dims[n + index] for index in order)]
    return reshape(replace_dims(x, dims), call.shape)


RULES = table(
    (view, "view _unsafe_view _reshape_alias"),
    (permute, "permute transpose t"),
    (squeeze, "squeeze"),
    (unsqueeze, "unsqueeze"),
    (select, "select"),
    (slice_, "slice"),
    (split, "split split_with_sizes unsafe_split unsafe_split_with_sizes"),
    (unbind, "unbind"),
    (cat, "cat stack"),
    (
        pad,
        "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
        "replication_pad2d replication_pad3d",
    ),
    (turn, "flip"),
    (mix, "roll sort topk gather"),
    (index_, "index index_select"),
    (embedding, "embedding"),
    (repeat_, "repeat"),
    (shuffle, "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle"),
)
"""Operator to rule."""
