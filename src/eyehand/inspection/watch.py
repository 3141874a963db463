"""Watch a network run, and know of every tensor what its elements see of the picture."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from eyehand.inspection.operator_call import Call, Rule, Seen
from eyehand.inspection.operators import storage_of, tensors
from eyehand.inspection.rules import find_rule
from eyehand.inspection.sight import Sight, flood, join, place, slide

Observer = Callable[[str, Mapping[str, Any], Tensor, Seen, Seen], None]
"""Told of every operator with a rule: its name, its arguments, its first output, what its first
tensor and its first output see."""


class Watch(TorchDispatchMode):
    """Follows what tensors see through every operator that runs.

    A tensor that was written through another one on the same memory (a slice, a view) may see
    anything that was written there.

    Args:
        picture: The tensor that is seen.
        sights: What its elements see, along the height and the width.
        observe: Called after every operator whose inputs see the picture.
    """

    def __init__(
        self, picture: Tensor, sights: tuple[Sight, Sight], observe: Observer | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's gap
        self._seen = WeakTensorKeyDictionary()
        self._cuts = WeakTensorKeyDictionary()
        self._written: dict[int, tuple[Any, int, Seen]] = {}
        self._observe = observe
        self._note(picture, sights)

    def seen(self, tensor: object) -> Seen:
        """Return what a tensor sees; None for anything else."""
        if not isinstance(tensor, Tensor):
            return None
        value, writes = self._seen.get(tensor, (None, 0))
        _, count, written = self._written.get(_memory(tensor), (None, 0, None))
        return value if writes == count else _either(value, written, tensor.shape)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator, and note what its outputs see."""
        kwargs = kwargs or {}
        before = {id(tensor): self.seen(tensor) for tensor in tensors((args, kwargs))}
        name = func._schema.name.partition("::")[2].rstrip("_")
        if all(value is None for value in before.values()):
            output = func(*args, **kwargs)
            if name == "slice":
                self._cuts[output] = _arguments(func, args, kwargs)
            return output
        rule = find_rule(name) if func.namespace == "aten" else None
        if rule is None:
            with self:  # a composite operator is seen through its parts
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        arguments = _arguments(func, args, kwargs)
        output = func(*args, **kwargs)
        outputs = list(tensors(output))
        after = _outcome(rule, name, func, arguments, outputs, before)
        for tensor, value in zip(outputs, after, strict=True):
            if tensor is arguments.get("self"):  # in place
                self._write(tensor, value, before[id(tensor)])
            else:
                self._note(tensor, value)
        if self._observe is not None and outputs and arguments:
            read = before.get(id(next(iter(arguments.values()))))
            self._observe(name, arguments, outputs[0], read, after[0])
        return output

    def _note(self, tensor: Tensor, value: Seen) -> None:
        self._seen[tensor] = value, self._written.get(_memory(tensor), (None, 0, None))[1]

    def _write(self, tensor: Tensor, value: Seen, before: Seen) -> None:
        """Note what was written in place, and that others on the same memory may see it now."""
        whole, content = tensor, value
        if value != before:
            memory = _memory(tensor)
            _, count, written = self._written.get(memory, (None, 0, None))
            while not count and whole in self._cuts and isinstance(content, tuple):
                # The first that is written into a tensor: the rest of it is like padding.
                cut = self._cuts[whole]
                whole = cut["self"]
                content = _uncut(content[0], cut), _uncut(content[1], cut)
            everything = _either(written, value, tensor.shape)
            # The storage is kept, so that its address is not given to another.
            self._written[memory] = storage_of(tensor), count + 1, everything
        self._note(whole, content)
        self._note(tensor, value)


def _arguments(
    func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments by name, with the defaults of the schema."""
    schema = func._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, args, strict=False)}
    defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
    order = [argument.name for argument in schema]
    values = {**defaults, **given, **kwargs}
    return {name: values[name] for name in order if name in values}


def _outcome(
    rule: Rule | None,
    name: str,
    func: OpOverload,
    arguments: Mapping[str, Any],
    outputs: Sequence[Tensor],
    before: Mapping[int, Seen],
) -> list[Seen]:
    """Return what each output sees, or why that is unknown."""
    unknown = next((value for value in before.values() if isinstance(value, str)), None)
    if unknown is not None or rule is None:
        return [unknown or f"no rule for {func}"] * len(outputs)
    shapes = [tuple(tensor.shape) for tensor in outputs]
    both: list[list[Sight | None]] = []
    for axis in range(2):
        try:
            outcome = rule(Call(name, arguments, shapes, before, axis))
        except Exception as error:
            # A form of the operator that the rule does not know: say so, and let the network run.
            return [f"the rule for {func} failed: {error!r}"] * len(outputs)
        if not isinstance(outcome, list):
            outcome = [
                x if x is None or x.shape == shape else flood(x, shape)
                for x, shape in zip([outcome] * len(shapes), shapes, strict=True)
            ]
        both.append(outcome)
    results: list[Seen] = []
    for height, width, shape in zip(*both, shapes, strict=True):
        if height is None or width is None:
            results.append(None)
        elif height.shape == width.shape == shape:
            results.append((height, width))
        else:
            results.append(f"the rule for {func} gave {height.shape} for {shape}")
    return results


def _either(first: Seen, second: Seen, shape: Sequence[int]) -> Seen:
    """Return what elements see that may come from one tensor, in place, or anywhere in another."""
    if isinstance(first, str) or isinstance(second, str):
        return first if isinstance(first, str) else second
    axes: list[Sight] = []
    for axis in range(2):
        own = None if first is None else first[axis]
        if own is not None and own.shape != tuple(shape):
            own = flood(own, shape)
        other = None if second is None else flood(second[axis], shape)
        joined = join([own, other], shape)
        if joined is None:
            return None
        axes.append(joined)
    return axes[0], axes[1]


def _uncut(x: Sight, cut: Mapping[str, Any]) -> Sight:
    """Put a slice back into what it was cut from."""
    index, size = cut["dim"] % len(x.dims), cut["self"].shape[cut["dim"]]
    start, _, step = slice(cut["start"], cut["end"], cut["step"]).indices(size)
    if step == 1:
        return place(x, index, start, size)
    offset = Fraction(-start, step)
    return slide(x, index, size, stride=Fraction(1, step), low=offset, high=offset)


def _memory(tensor: Tensor) -> int:
    """Return a number that tensors on the same memory share."""
    storage = storage_of(tensor)
    return id(tensor) if storage is None else storage._cdata
