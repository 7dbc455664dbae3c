from __future__ import annotations

import pytest

from explorer.progress import follow_job


def test_a_job_shows_its_count_and_its_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    with follow_job() as listener:
        listener.announce("[bold]three[/bold] images")
        listener.start(3)
        listener.advance(2, 0)
        listener.advance(0, 1)
    err = capsys.readouterr().err
    assert "[bold]three[/bold] images" in err
    assert "3/3" in err
    assert "1 rejected" in err


def test_a_job_that_is_stopped_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), follow_job():
        raise KeyboardInterrupt
    assert "the same command goes on from here" in capsys.readouterr().err
