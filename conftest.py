"""What pytest passes over: doctests of a module whose package only `make extras` installs."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("vla_eval") else ["src/eyehand/runs/vla_eval.py"]
