"""Bad command lines; part of `benchmarks/reliability.py`.

They are those of `tests/bad_command_lines.toml`, which says what the answer to each must have.
"""

import os
import random
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.test_bad_command_lines import make_places, problems, read_table

MEMORY = 8 << 30
"""Most address space of a line, bytes."""


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    number: int
    line: tuple[str, str, str]


def lines(count: int, seed: int) -> Iterator[Line]:
    """Yield ``count`` lines, drawn from the table without repetition."""
    table = read_table()
    numbers = sorted(
        random.Random(f"{seed} commands").sample(range(len(table)), min(count, len(table)))
    )
    for number in numbers:
        yield Line(number, table[number])


def run_line(line: Line, folder: Path) -> dict[str, Any]:
    """Run a line in this process; return what was wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # some verbs write into outputs
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = problems(line.line, make_places(folder), folder)
    return {"line": " ".join(line.line[:2]), "problems": found}
