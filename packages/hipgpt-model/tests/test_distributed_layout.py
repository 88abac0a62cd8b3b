"""Which rank owns what: everything once, in the order in which it is finished."""

import numpy as np
import pytest

from hipgpt_kernels import load_backend
from hipgpt_model import Parameters
from hipgpt_model.distributed.layout import Layout, names_of_stage

from .models import VARIANTS, tiny_config


def parameters_of(**options):
    return Parameters(tiny_config(**options), load_backend("cpu"), training=False)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bucket_bytes", [0, 20_000, 1 << 30])
def test_ranks_own_every_element_once(variant, size, bucket_bytes):
    parameters = parameters_of(**VARIANTS[variant])
    layout = Layout(parameters.config, size, bucket_bytes)
    owners = np.zeros(parameters.size, int)
    for rank in range(size):
        at = 0
        for own in layout.own(rank):
            owners[own.flat] += 1
            assert own.local == slice(at, at + own.flat.stop - own.flat.start)
            assert own.decay == (own.flat.start < parameters.decayed.stop)
            at = own.local.stop
        assert at == layout.own_size(rank)
    assert (owners == 1).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tensor_is_finished_by_one_stage(variant):
    parameters = parameters_of(**VARIANTS[variant])
    L = parameters.config.num_layers
    names = [name for stage in range(L, -2, -1) for name in names_of_stage(parameters, stage)]
    assert sorted(names) == sorted(parameters.names())


def test_a_bucket_waits_for_the_last_of_its_blocks():
    parameters = parameters_of(num_layers=4)
    layout = Layout(parameters.config, 2, bucket_bytes=0)
    assert [bucket.stage for bucket in layout.buckets] == [4, 3, 2, 1, 0, -1]
    assert [bucket.stage for bucket in Layout(parameters.config, 2).buckets] == [-1]
    for bucket in layout.buckets:
        expected = {parameters.span(name) for name in names_of_stage(parameters, bucket.stage)}
        covered = {(piece.start, piece.stop) for piece in bucket.pieces}
        assert sum(b - a for a, b in expected) == sum(b - a for a, b in covered)


def test_shares_are_as_equal_as_lines_of_memory_allow():
    parameters = parameters_of(embed_dim=24, num_layers=2)
    sizes = [Layout(parameters.config, 4, 0).own_size(rank) for rank in range(4)]
    pieces = sum(len(bucket.pieces) for bucket in Layout(parameters.config, 4, 0).buckets)
    assert max(sizes) - min(sizes) <= 64 * pieces
