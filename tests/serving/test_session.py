"""Silence stops an episode, once; an old observation is told from a slow clock."""

import pytest

from eyehand.serving.session import Session
from eyehand.types import InputError


def test_without_a_silence_the_watchdog_never_bites() -> None:
    session = Session(0, max_age=1.0)
    session.begin({}, now=0.0)
    assert not session.is_silent(now=1e6)
    session.check({}, now=1e6)


def test_silence_stops_the_episode_once_until_another_begins() -> None:
    session = Session(0, max_age=1.0)
    session.begin({"__silence__": 2.0}, now=0.0)
    session.check({}, now=1.9)
    assert not session.is_silent(now=3.8)
    assert session.is_silent(now=4.0)
    assert not session.is_silent(now=5.0)
    for _ in range(2):
        with pytest.raises(InputError, match=r"stopped after 2 s of silence: .*episode_start"):
            session.check({}, now=6.0)
    session.begin({"__silence__": 2.0}, now=7.0)
    session.check({}, now=7.5)


def test_an_observation_after_the_silence_is_refused_even_before_the_watchdog_looked() -> None:
    session = Session(0, max_age=1.0)
    session.begin({"__silence__": 2.0}, now=0.0)
    with pytest.raises(InputError, match="silence"):
        session.check({}, now=2.1)


def test_an_episode_that_ended_is_not_stopped() -> None:
    session = Session(0, max_age=1.0)
    session.begin({"__silence__": 2.0}, now=0.0)
    session.end()
    assert not session.is_silent(now=9.0)
    session.check({}, now=9.0)


@pytest.mark.parametrize("silence", [0, -1, float("nan"), float("inf"), "2", [2], 1e9])
def test_a_silence_that_is_none_is_refused(silence: object) -> None:
    with pytest.raises(InputError, match="__silence__' must be a number of seconds"):
        Session(0, max_age=1.0).begin({"__silence__": silence}, now=0.0)


@pytest.mark.parametrize("clock", [-1e9, 0.0, 1e9])
def test_age_is_measured_by_the_clients_own_clock(clock: float) -> None:
    session = Session(0, max_age=0.5)
    session.check({"__time__": clock}, now=100.0)  # takes as long as messages take
    session.check({"__time__": clock + 1.0}, now=101.4)
    with pytest.raises(InputError, match=r"stale: 0\.60 s old, at most 0\.5"):
        session.check({"__time__": clock + 2.0}, now=102.6)
    session.check({"__time__": clock + 3.0}, now=103.0)


@pytest.mark.parametrize("sent", ["now", float("nan"), float("inf"), None, [1.0]])
def test_a_clock_that_is_none_is_refused(sent: object) -> None:
    session = Session(0, max_age=0.5)
    if sent is None:
        session.check({"__time__": sent}, now=1.0)
        return
    with pytest.raises(InputError, match="__time__' must be the client's clock"):
        session.check({"__time__": sent}, now=1.0)
