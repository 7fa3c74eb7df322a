"""Ctrl-C: the first asks, the same one passed on twice changes nothing, a later one acts at once."""

import signal

import pytest

from search.commands import interrupt
from search.commands.interrupt import stop_on_signals


def test_the_same_ctrl_c_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with stop_on_signals() as should_stop:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        monkeypatch.setattr(interrupt, "TWICE", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, found) is signal.default_int_handler
