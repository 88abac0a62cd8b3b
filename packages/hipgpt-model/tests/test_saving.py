"""Saving beside training: the same file, no torn state, errors where they are asked for."""

import errno
import threading

import numpy as np
import pytest

from hipgpt_model import TokenData, TrainConfig, Trainer, save_training, saving
from hipgpt_model.checkpoint import load_checkpoint
from hipgpt_model.saving import BackgroundSaver

from .models import tiny_config


def make_trainer(backend, **options):
    ids = np.arange(600).astype(np.uint16) % 37
    config = TrainConfig(**{"batch_size": 2, "steps": 50, "ema": 0.9, **options})
    return Trainer(tiny_config(), config, TokenData(ids, 12), backend)


@pytest.fixture
def held_back(monkeypatch):
    """Writing waits until this event is set; what is written is not changed."""
    event = threading.Event()
    write = saving.save_checkpoint

    def wait_first(*args):
        assert event.wait(30)
        write(*args)

    monkeypatch.setattr(saving, "save_checkpoint", wait_first)
    return event


def test_it_writes_what_save_training_writes_while_training_goes_on(backend, tmp_path, held_back):
    trainer = make_trainer(backend)
    list(trainer.run(3))
    save_training(tmp_path / "plain", trainer, "abc", metrics={"loss": 1.0})
    with BackgroundSaver() as saver:
        saver.save(tmp_path / "beside", trainer, "abc", metrics={"loss": 1.0})
        list(trainer.run(3))  # changes every weight
        assert not (tmp_path / "beside").exists()
        held_back.set()
    assert (tmp_path / "beside").read_bytes() == (tmp_path / "plain").read_bytes()
    (saved,) = saver.finished()
    assert (saved.step, saved.nbytes) == (3, (tmp_path / "plain").stat().st_size)
    assert saved.mb_per_s > 0
    assert not saver.finished()


def test_the_next_save_waits_for_the_one_before(any_backend, tmp_path, held_back):
    trainer, order = make_trainer(any_backend), []
    saver = BackgroundSaver()
    saver.save(tmp_path / "1", trainer, done=lambda saved: order.append(saved.path.name))
    threading.Timer(0.05, held_back.set).start()
    list(trainer.run(1))
    saver.save(tmp_path / "2", trainer, done=lambda saved: order.append(saved.path.name))
    assert order[0] == "1"
    saver.wait()
    assert order == ["1", "2"]
    assert load_checkpoint(tmp_path / "1")[0].step == 0
    assert load_checkpoint(tmp_path / "2")[0].step == 1


def test_an_error_waits_until_it_is_asked_for(any_backend, tmp_path):
    trainer, saver = make_trainer(any_backend), BackgroundSaver()
    saver.save(tmp_path / "no" / "such" / "folder", trainer)
    list(trainer.run(1))
    with pytest.raises(OSError, match="was not written") as error:
        saver.wait()
    assert error.value.errno == errno.ENOENT
    saver.wait()  # once is enough
    assert saver.finished() == []


def test_cancelling_leaves_nothing(any_backend, tmp_path, held_back):
    trainer, saver = make_trainer(any_backend), BackgroundSaver()
    saver.save(tmp_path / "1", trainer)
    threading.Timer(0.05, held_back.set).start()
    saver.cancel()
    assert not list(tmp_path.iterdir())


def test_the_copy_is_made_once(any_backend, tmp_path):
    trainer, saver = make_trainer(any_backend), BackgroundSaver()
    saver.save(tmp_path / "1", trainer)
    saver.wait()
    before = {name: id(array) for name, array in saver._copies.items()}
    saver.save(tmp_path / "2", trainer)
    saver.wait()
    assert before == {name: id(array) for name, array in saver._copies.items()}
