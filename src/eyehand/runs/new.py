"""Write the first version of a new part and of its test, from templates that pass their checks."""

import ast
import keyword
import re
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from eyehand.files import check_place, replace_text
from eyehand.types import InputError

Kind = Literal["policy", "head", "suite", "update"]
"""What can be new."""
ROOMS: dict[Kind, str] = {
    "policy": "policies",
    "head": "policies/heads",
    "suite": "envs",
    "update": "training",
}
"""Where each kind stands in ``src/eyehand``, and its test in ``tests``."""
INSIDE: dict[Kind, str] = {
    "policy": """Add this line to POLICIES in src/eyehand/policies/registry.py:
    "{name}": "{import}:{class}",""",
    "head": """Add two lines to src/eyehand/policies/heads/registry.py, the second to HeadConfig:
from {import} import {class}Config
    | {class}Config""",
    "suite": """Add this line to SUITES in src/eyehand/envs/suite.py:
    "{name}": "{import}:{constant}",""",
    "update": """Updates have no registry: give {class}(network) to eyehand.training.loop.train,
as eyehand.runs.train does with SupervisedUpdate.""",
}
"""How a part that stands in eyehand itself is made known, by kind."""
OUTSIDE: dict[Kind, str] = {
    "policy": """Before such a policy is trained or loaded, a program of yours makes it known:
from eyehand.policies.registry import POLICIES
POLICIES["{name}"] = "{module}:{class}\"""",
    "head": """Give it to a policy's config, as in BCZConfig(head={class}Config()). Loading its
checkpoints needs a line in eyehand itself, so write a head that is to stay in a checkout.""",
    "suite": """Name it {module}:{constant} wherever Python finds {module}.py, such as beside it:
PYTHONPATH=. eyehand record --suite {module}:{constant} --tasks all --episodes 10 --out data""",
    "update": """Give {class}(network) to eyehand.training.loop.train, as eyehand.runs.train does
with SupervisedUpdate.""",
}
"""How a part that stands elsewhere is used, by kind."""
LONGEST = 24
"""Characters of a name; a longer one would not fit into the lines of the templates."""
TEMPLATES = Environment(
    loader=PackageLoader("eyehand.runs"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
)
TEMPLATES.filters["sorted_lines"] = lambda text: "".join(sorted(text.splitlines(keepends=True)))


@dataclass(frozen=True)
class NewPart:
    """What was written, and what is left to do."""

    source: Path
    test: Path
    advice: str
    """How the rest of eyehand finds the part: a sentence, and the lines to add."""


def find_checkout(start: Path) -> Path | None:
    """Return the checkout of eyehand that a folder lies in; None if it lies in none."""
    folders = (start, *start.parents)
    return next((one for one in folders if (one / "src/eyehand/__init__.py").is_file()), None)


def write_new(kind: Kind, name: str, *, folder: Path, checkout: bool) -> NewPart:
    """Write a new part and its test.

    Args:
        kind: What it is.
        name: Lower-case words with ``-`` or ``_`` between them; ``my-arm`` and ``my_arm`` are the
            same name.
        folder: Where to write.
        checkout: Whether the folder is a checkout of eyehand. In one, the file goes into the room
            of its kind and the test to the mirrored path. Elsewhere both go straight into the
            folder, and import eyehand as a library.

    Raises:
        InputError: If there is no such name, or something has it already.
    """
    module = _module_name(name)
    if checkout:
        place = f"eyehand.{ROOMS[kind].replace('/', '.')}.{module}"
        source = folder / "src/eyehand" / ROOMS[kind] / f"{module}.py"
        test = folder / "tests" / ROOMS[kind] / f"test_{module}.py"
    else:
        place = module
        source, test = folder / f"{module}.py", folder / f"test_{module}.py"
    check_place(folder, folder=True)
    for path in (source, source.with_suffix(""), test):
        if path.exists():
            raise InputError(f"{path} exists already; choose another name, or move it away.")
    if not checkout and find_spec(module) is not None:
        raise InputError(
            f"Python has a module {module!r} already, which {source} would hide; "
            "choose another name."
        )
    names = {
        "name": module.replace("_", "-"),
        "module": module,
        "title": module.replace("_", " ").capitalize(),
        "class": "".join(word.capitalize() for word in module.split("_")),
        "constant": module.upper() if checkout else "SUITE",
        "import": place,
    }
    texts = {
        path: TEMPLATES.get_template(f"new_{kind}{end}.py.jinja").render(names)
        for path, end in ((source, ""), (test, "_test"))
    }
    for text in texts.values():
        _check_names(text, name)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text)
    advice = (INSIDE if checkout else OUTSIDE)[kind]
    return NewPart(source, test, advice.format_map(names))


def _module_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name) or len(name) > LONGEST:
        raise InputError(
            f"a name is lower-case words of letters and digits with - or _ between them, begins "
            f"with a letter and has at most {LONGEST} characters, such as my-arm; got {name!r}."
        )
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.iskeyword(module.capitalize()):
        raise InputError(f"{name!r} is a word of Python itself; choose another name.")
    return module


def _check_names(text: str, name: str) -> None:
    """Refuse a name that the file needs for something else, such as an update called update."""
    bound: Counter[str] = Counter()
    for node in ast.parse(text).body:
        match node:
            case ast.Import(names=found) | ast.ImportFrom(names=found):
                bound.update(one.asname or one.name for one in found)
            case ast.ClassDef(name=found_name) | ast.FunctionDef(name=found_name):
                bound[found_name] += 1
            case ast.Assign(targets=targets):
                parts = (part for target in targets for part in ast.walk(target))
                bound.update(part.id for part in parts if isinstance(part, ast.Name))
    twice = [one for one, times in bound.items() if times > 1]
    if twice:
        raise InputError(
            f"the file of {name!r} needs the name {twice[0]} for something else; "
            "choose another name."
        )
