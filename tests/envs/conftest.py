"""Tests that draw are skipped, with one sentence, on a machine that cannot."""

from functools import cache

import pytest

from eyehand.envs.metaworld import MetaWorldEnv
from eyehand.types import InputError


@cache
def _why_not() -> str:
    env = MetaWorldEnv("reach", cameras={"corner4": 8})
    try:
        env.reset(seed=0)
    except InputError as error:
        return str(error)
    finally:
        env.close()
    return ""


@pytest.fixture
def opengl() -> None:
    if _why_not():
        pytest.skip(_why_not())
