"""Batches made ahead of time by threads, so that reading images does not hold up training."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

from .data.joint import Joint, JointBatches


def in_order(batches: JointBatches, first: int, end: int, workers: int) -> Generator[Joint]:
    """Batches ``first`` to ``end - 1``. ``workers`` threads make the next ones meanwhile; without
    any, each is made when it is asked for. They are the same in any case."""
    if not workers:
        yield from (batches.batch(k) for k in range(first, end))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="growc-data") as pool:
        ahead: list[Future[Joint]] = []
        try:
            for k in range(first, end):
                while len(ahead) < 2 * workers and k + len(ahead) < end:
                    ahead.append(pool.submit(batches.batch, k + len(ahead)))
                yield ahead.pop(0).result()
        finally:
            for future in ahead:
                future.cancel()
