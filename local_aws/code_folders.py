"""Unpacks the functions' zips."""

from __future__ import annotations

import asyncio
import io
import tempfile
import zipfile
from pathlib import Path

from .deployed import Function


class CodeFolders:
    """Folders with the code of functions. Each zip is unpacked once."""

    def __init__(self) -> None:
        self._root = tempfile.TemporaryDirectory(prefix="local-aws-")
        self._unpacking: dict[str, asyncio.Task[Path]] = {}

    async def folder(self, function: Function) -> Path:
        digest = function.code_sha256
        if digest not in self._unpacking:
            folder = Path(self._root.name) / str(len(self._unpacking))
            self._unpacking[digest] = asyncio.create_task(asyncio.to_thread(_unpack, function.code, folder))
        return await asyncio.shield(self._unpacking[digest])

    def remove(self) -> None:
        self._root.cleanup()


def _unpack(code: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(folder)
    return folder
