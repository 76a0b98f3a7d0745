"""Chunks on workers that may be lost at any moment: every answer once, losses counted. Ray is pretended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.errors import ArenaError, InputError
from arena_ensemble.pipeline.chunks_on_ray import _Cluster
from arena_ensemble.pipeline.executors import OnRay


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's: an error in the code."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Exceptions:
    RayError, RayTaskError = RayError, RayTaskError
    OutOfMemoryError = NodeDiedError = WorkerCrashedError = RayActorError = type("Other", (RayError,), {})


class PretendedRay:
    """Workers of which the n-th call ends as ``fates`` says: well, or with the loss of its worker."""

    exceptions = Exceptions

    def __init__(self, fates: list[bool], *, settles: bool) -> None:
        self.fates, self.settles, self.calls = fates, settles, list[Callable[[], Any]]()

    def remote(self, *arguments: Any) -> Any:
        return self

    def options(self, **options: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        ray = self

        class Method:
            @staticmethod
            def remote(*arguments: Any) -> int:
                ray.calls.append(lambda: ray.end(name, arguments))
                return len(ray.calls) - 1

        return Method()

    def end(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "settle" and self.settles:
            return True
        if name == "settle":
            raise RayError("no room")
        if self.fates and self.fates.pop(0):
            raise RayError("gone")
        function, values = arguments
        try:
            return function("the pass", *values)
        except InputError as error:
            raise RayTaskError(error) from None

    def wait(self, references: list[int], *, num_returns: int, timeout: float) -> Any:
        return references[-1:], references[:-1]  # the youngest ends first

    def get(self, reference: int) -> Any:
        return self.calls[reference]()

    def kill(self, actor: Any) -> None:
        """Nothing is left of it."""


def cluster(fates: list[bool], *, jobs: int = 2, retries: int = 3, settles: bool = True) -> _Cluster:
    ray: Any = PretendedRay(fates, settles=settles)
    given: Any = None
    return _Cluster(ray, given, OnRay(jobs=jobs, retries=retries), {}, "", "", jobs)


def doubled(given: Any, number: int) -> int:
    return 2 * number


@given(fates=st.lists(st.booleans(), max_size=12), jobs=st.integers(1, 3))
def test_every_chunk_is_answered_as_if_nothing_was_lost(fates: list[bool], jobs: int) -> None:
    pool = cluster(fates, jobs=jobs, retries=99)
    answers = [pool.submit(doubled, number) for number in range(9)]
    assert [one.result() for one in answers] == [2 * number for number in range(9)]


def test_a_chunk_that_takes_its_worker_along_each_time_is_given_up() -> None:
    answer = cluster([True] * 3, jobs=1, retries=2).submit(doubled, 1)
    with pytest.raises(ArenaError, match=r"begun 3 times, each time in vain: RayError: gone.*--chunk-rows"):
        answer.result()
    with pytest.raises(
        ArenaError, match=r"5 workers of the cluster were lost one after the other \(RayError"
    ):
        cluster([], jobs=2, retries=2, settles=False).submit(doubled, 1).result()


def test_an_error_in_the_rows_is_not_tried_again() -> None:
    def refuse(given: Any) -> None:
        raise InputError("row 7")

    pool = cluster([], jobs=1)
    with pytest.raises(InputError, match="row 7"):
        pool.submit(refuse).result()
