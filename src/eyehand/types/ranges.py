"""Ranges of the numbers that a user gives; an error names the field or flag, range and value."""

from eyehand.types.errors import InputError

LARGEST_SEED = 2**31 - 1
"""Of a start state."""
LARGEST_SIDE = 4096
"""Pixels of a picture's longer side; graphics cards draw little more."""


def check_ranges(
    config: object, *, prefix: str = "--", **ranges: tuple[int | float, int | float]
) -> None:
    """Check that numbers of a config lie in their ranges, both ends included.

    A field that is None is left out; of a tuple every number is checked. What is not a number
    (nan) lies in no range.

    Args:
        config: A dataclass.
        prefix: How the name of a field begins in an error: ``--`` for a flag, ``--execution.`` for
            that of a part, or ``BCZConfig.`` for a field of what has no fixed flag.
        ranges: Smallest and largest value by the field's name.

    Raises:
        InputError: For the first field that is wrong.

    Example:
        >>> from types import SimpleNamespace
        >>> check_ranges(SimpleNamespace(image_size=0), image_size=(1, 4096))
        Traceback (most recent call last):
            ...
        eyehand.types.errors.InputError: --image-size must be 1 to 4,096; got 0.
    """
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number is None or least <= number <= most for number in numbers):
            called = prefix + (name.replace("_", "-") if prefix.startswith("--") else name)
            raise InputError(f"{called} must be {least:,} to {most:,}; got {shortened(value)}.")


def shortened(value: object) -> str:
    """Return a value as text for an error; the digits of a huge number tell nothing.

    Example:
        >>> shortened(10**80)
        '1000000000000000000000000000000000000000... (81 characters)'
    """
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"
