"""The tensors of a folder, whether they lie in one safetensors file or in several.

The odd thing: a name in an index is a path that somebody else wrote, so only plain file names in
the same folder are opened; and pickled weights are never opened at all.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from hipgpt_model.interop.errors import InteropError
from hipgpt_model.interop.safetensors import SafetensorsFile

if TYPE_CHECKING:
    import numpy as np

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


class Shards:
    """The tensors of a folder; use it as a context.

    Args:
        folder: it holds model.safetensors, or its index and the files that this names.

    Raises:
        InteropError: there are no such files, or they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict[str, SafetensorsFile] = {}  # tensor → its file
        try:
            if (folder / SINGLE).is_file():
                self._open(folder / SINGLE)
            elif (folder / INDEX).is_file():
                self._open_all(folder / INDEX)
            else:
                _refuse_absent(folder)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def names(self) -> set[str]:
        """Every tensor."""
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self._files[name].tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32."""
        return self._files[name].read(name)

    def _open(self, path: Path) -> SafetensorsFile:
        file = self._stack.enter_context(SafetensorsFile(path))
        for name in file.tensors:
            if name in self._files:
                raise InteropError(f"{name} is in {self._files[name].path.name} and {path.name}")
            self._files[name] = file
        return file

    def _open_all(self, index: Path) -> None:
        places = _weight_map(index)
        for name in sorted(set(places.values())):
            path = index.with_name(name)
            if not path.is_file():
                raise InteropError(f"{index} names {name}, which is not there")
            self._open(path)
        for tensor, name in places.items():
            if tensor not in self._files or self._files[tensor].path.name != name:
                raise InteropError(f"{index} says that {tensor} is in {name}, but it is not")


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor → file name, as an index says."""
    try:
        value: Any = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InteropError(f"{index} is not valid JSON ({error})") from None
    places = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(places, dict) or not places:
        raise InteropError(f"{index} has no weight_map from tensors to files")
    for name in places.values():
        plain = isinstance(name, str) and name == Path(name).name and "\\" not in name
        if not plain or not name.endswith(".safetensors"):
            raise InteropError(f"{index} names {name!r}, expected a .safetensors file beside it")
    return places


def _refuse_absent(folder: Path) -> NoReturn:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickled:
        raise InteropError(
            f"{folder} has its weights in {pickled[0]} only, a pickle, which can run any code when "
            "it is loaded and is never opened here; save the model as safetensors first"
        )
    raise InteropError(f"{folder} has no {SINGLE} and no {INDEX}")
