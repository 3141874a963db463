import pytest
from accelerate.state import PartialState

from eyehand.training.processes import processes


def test_alone_it_is_the_first_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    PartialState._reset_state()
    state = processes()
    assert (state.process_index, state.num_processes, state.is_main_process) == (0, 1, True)
