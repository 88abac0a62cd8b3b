"""TokenData: the shuffle is a permutation, the parts never meet, a number is the whole state."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipgpt_model import TokenData
from hipgpt_model.data import permute


def make_data(N, T, **options):
    return TokenData(np.arange(N).astype(np.uint32), T, **options)


@given(n=st.integers(1, 3000), keys=st.lists(st.integers(0, 2**32 - 1), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_permutation(n, keys):
    images = permute(np.arange(n), n, np.array(keys, np.uint32))
    assert np.array_equal(np.sort(images), np.arange(n))


def test_permute_does_not_depend_on_what_else_is_asked():
    keys = np.arange(6, dtype=np.uint32)
    whole = permute(np.arange(1000), 1000, keys)
    assert np.array_equal(permute(np.array([7, 999, 7]), 1000, keys), whole[[7, 999, 7]])


def test_permute_mixes():
    """Of 100 places, each index takes each about equally often: χ² with 99 degrees of freedom."""
    rng = np.random.default_rng(0)
    counts = np.zeros((100, 100))
    for _ in range(2000):
        keys = rng.integers(0, 2**32, 6, dtype=np.uint32)
        counts[np.arange(100), permute(np.arange(100), 100, keys)] += 1
    chi_squared = ((counts - 20) ** 2 / 20).sum(axis=1)  # mean 99, deviation √198 = 14.1
    assert chi_squared.max() < 99 + 5 * 14.1
    assert abs(chi_squared.mean() - 99) < 5 * 14.1 / 10


def test_permute_of_a_very_large_corpus_needs_no_memory():
    images = permute(np.array([0, 10**12 - 1]), 10**12, np.arange(6, dtype=np.uint32))
    assert ((images >= 0) & (images < 10**12)).all()


@pytest.mark.parametrize(("N", "T", "B"), [(1000, 7, 5), (1000, 32, 8), (70, 32, 3), (5003, 1, 64)])
def test_every_epoch_has_every_window_exactly_once(N, T, B):
    data = make_data(N, T)
    W = data.train_windows
    starts = np.concatenate([data.train_batch(p, B, 3) for p in range(0, 3 * W + B, B)])
    for epoch in range(3):
        windows = np.sort(starts[epoch * W : (epoch + 1) * W])
        assert (np.diff(windows) == T).all()  # no gap, no overlap
        assert windows[0] >= 0
        assert windows[-1] + T + 1 <= data.train_tokens
        assert windows[0] < T or W == 1


def test_orders_and_borders_differ_between_epochs_and_seeds():
    data = make_data(20_000, 16)
    W = data.train_windows
    epochs = [data.train_batch(epoch * W, W, seed) for epoch in range(6) for seed in (1, 2)]
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert len({epoch.min() for epoch in epochs}) > 4


def test_the_position_is_the_whole_state():
    """Any batch, cut anywhere, also across the end of an epoch, from a fresh object."""
    one = make_data(500, 10).train_batch(0, 200, 9)
    for position in (0, 13, 43, 44, 45, 150):
        assert np.array_equal(make_data(500, 10).train_batch(position, 50, 9), one[position:][:50])


@pytest.mark.parametrize(("N", "T"), [(66, 32), (100, 32), (1000, 32), (12345, 7), (4, 1)])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.99])
def test_validation_never_overlaps_training(N, T, fraction):
    data = make_data(N, T, validation_fraction=fraction)
    assert data.train_windows >= 1
    assert data.validation_windows >= 1
    trained = {
        start + t for start in data.train_batch(0, 2 * data.train_windows, 5) for t in range(T + 1)
    }
    held_out = {
        start + t
        for batch in data.validation_batches(4, 1000)
        for start in batch
        for t in range(T + 1)
    }
    assert not trained & held_out
    assert max(trained) < data.train_tokens <= min(held_out)
    assert max(held_out) < N


def test_validation_batches_are_fixed_spread_and_never_repeat():
    data = make_data(10_000, 9)
    batches = data.validation_batches(8, 3)
    assert [len(batch) for batch in batches] == [8, 8, 8]
    starts = np.concatenate(batches)
    assert len(set(starts)) == 24
    assert starts.min() == data.train_tokens
    assert starts.max() > 9900
    again = data.validation_batches(8, 3)
    assert all(np.array_equal(one, two) for one, two in zip(batches, again, strict=True))
    everything = np.concatenate(data.validation_batches(8, 1000))
    assert np.array_equal(np.diff(everything), np.full(data.validation_windows - 1, 9))


def test_too_short_a_text_says_what_is_needed():
    with pytest.raises(ValueError, match="has 65 tokens; rows of 32 need at least 66"):
        make_data(65, 32)
    assert make_data(66, 32).train_batch(0, 2, 1).tolist() == [0, 0]


def test_ids_outside_the_vocabulary_are_refused():
    data = make_data(100, 5)
    data.check_ids(100)
    with pytest.raises(ValueError, match="the id 99, but vocab_size is 99"):
        data.check_ids(99)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="uint16 or uint32; got int64"):
        TokenData(np.arange(100), 5)
    with pytest.raises(ValueError, match="shape"):
        TokenData(np.zeros((10, 10), np.uint16), 5)
    with pytest.raises(ValueError, match="T, the length of a row"):
        make_data(100, 0)
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match="validation_fraction"):
            make_data(100, 5, validation_fraction=fraction)


def test_a_memory_map_serves_as_well(tmp_path):
    ids = np.arange(1000).astype(np.uint16)
    ids.tofile(tmp_path / "tokens")
    mapped = TokenData(np.memmap(tmp_path / "tokens", np.uint16, "r"), 8)
    assert mapped.fingerprint() == TokenData(ids, 8).fingerprint()
    assert mapped.fingerprint() == TokenData(ids.astype(np.uint32), 8).fingerprint()


def test_the_fingerprint_notices_a_changed_id_and_another_cut():
    ids = np.arange(1000).astype(np.uint16)
    before = TokenData(ids, 8).fingerprint()
    assert TokenData(ids, 9).fingerprint() != before
    assert TokenData(ids, 8, 0.2).fingerprint() != before
    ids[500] = 7
    assert TokenData(ids, 8).fingerprint() != before
