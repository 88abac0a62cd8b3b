"""Device work that is the same each time: captured as a graph once, and launched from then on.

The odd thing: the first call does the work as it is written, and the second one captures it. By
then every kernel is loaded and the arena has its size: the capture meets nothing but launches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from hipgpt_kernels import Arena
    from hipgpt_kernels.backend import Backend


class Program:
    """A function without arguments that gives work to the device and never waits for it.

    Args:
        backend: whose work.
        function: what is to be done; the same work at each call.
        arena: where it has its arrays. Where this moves, the work is captured anew.
        graph: capture it; else each call does it as it is written, which is slower and easier to
            debug, and gives the same bits.
    """

    def __init__(
        self, backend: Backend, function: Callable[[], None], arena: Arena, *, graph: bool
    ) -> None:
        self._backend = backend
        self._function = function
        self._arena = arena
        self._graph: Any = None
        self._captures = graph
        self._version = -1  # of the arena when the function was last called

    def __call__(self) -> None:
        """Do it."""
        if self._captures and self._version == self._arena.version:
            if self._graph is None:
                with self._backend.capture() as graph:
                    self._function()
                self._graph = graph
            self._graph.launch()
            return
        self._graph = None
        self._function()
        self._version = self._arena.version
