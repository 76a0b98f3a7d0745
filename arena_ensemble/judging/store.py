"""Answers as they come, a line each: what makes a judge's run resumable."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..artifacts import atomic
from ..errors import InputError
from .answers import Answer

log = logging.getLogger(__name__)


@dataclass
class AnswerStore:
    """An append-only file of JSON lines, question's key → answer. A torn last line is dropped.

    Raises
    ------
    InputError
        The file is not one of these.
    """

    path: Path
    answers: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror}); give another --out") from None
        whole, newline, torn = content.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                value = json.loads(line)
                key, answer = value["key"], value["answer"]
                if answer["probs"] is not None:
                    answer["probs"] = tuple(answer["probs"])
                self.answers[key] = Answer(**answer)
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f"{self.path} line {number}: no answer of a judge; give another --out, or remove the file"
                ) from None
        if torn:
            log.info("%s: the last line was cut off by a kill; that question is asked again", self.path.name)
            atomic.write_bytes(self.path, whole + newline)

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer: on disk when this returns."""
        line = json.dumps({"key": key, "answer": asdict(answer)}) + "\n"
        with atomic.finishing(), atomic.reraise_os_errors(self.path), self.path.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.answers[key] = answer
