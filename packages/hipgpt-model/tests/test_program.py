"""A captured program does what the plain one does, also after its memory has moved."""

import numpy as np

from hipgpt_kernels import Arena
from hipgpt_model.program import Program


def test_each_call_does_the_work_once(backend):
    arena = Arena(backend)
    x, one = backend.zeros((1000,)), backend.zeros((1000,))
    backend.fill(one, 1.0)

    def work():
        arena.reset()
        two = backend.add(one, one, out=arena.empty((1000,)))
        backend.add(x, two, out=x)

    program = Program(backend, work, arena, graph=backend.can_capture)
    for call in range(1, 5):
        program()
        assert np.all(backend.to_numpy(x) == 2 * call)
    arena.reserve(1 << 22)
    for call in range(5, 9):
        program()
        assert np.all(backend.to_numpy(x) == 2 * call)


def test_the_plain_one_is_never_captured(any_backend):
    calls = []
    program = Program(any_backend, lambda: calls.append(1), Arena(any_backend), graph=False)
    for _ in range(3):
        program()
    assert len(calls) == 3
