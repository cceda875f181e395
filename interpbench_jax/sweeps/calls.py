"""The blocks of a sweep, distributed over calls of one program."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from interpbench_jax.engine.masked import MaskBlocks
from interpbench_jax.engine.suffix import EMPTY, SuffixBlocks
from interpbench_jax.sweeps.edits import BlockedEdits


class Call(NamedTuple):
    """The blocks of one call.

    Attributes:
        blocks: as many blocks as the program takes, on all devices; on each, padding comes last.
        in_use: how many blocks are no padding, on each device that takes a share.
        order: the edit at each place of a block; `EMPTY` for padding.
    """

    blocks: SuffixBlocks | MaskBlocks
    in_use: Int[np.ndarray, " edit_shares"]
    order: Int[np.ndarray, "blocks in_block"]

    @property
    def edits(self) -> Int[np.ndarray, " edits"]:
        """The edits of the call, in the order of its sums."""
        return self.order[self.order != EMPTY]


def deal_calls(blocked: BlockedEdits, most: int, shares: int, workers: int) -> list[Call]:
    """Calls of about the same cost, each with its share of the deep and of the shallow blocks.

    Args:
        blocked: the blocks, deepest first.
        most: how many blocks the program takes, on one device.
        shares: how many devices take a share of a call's blocks.
        workers: how many calls run at a time; the number of calls is a multiple of it, if there
            are enough blocks.
    """
    n_blocks = len(blocked.order)
    n_calls = -(-n_blocks // (most * shares * workers)) * workers
    n_calls = max(1, min(n_calls, -(-n_blocks // shares)))
    return [_deal(blocked, most, shares, first, n_calls) for first in range(n_calls)]


def _deal(blocked: BlockedEdits, most: int, shares: int, first: int, n_calls: int) -> Call:
    n_blocks = len(blocked.order)
    parts = [
        np.arange(first + n_calls * share, n_blocks, n_calls * shares) for share in range(shares)
    ]
    index = np.full((shares, most), EMPTY)
    for row, part in zip(index, parts, strict=True):
        row[: len(part)] = part
    index = index.reshape(-1)
    blocks = type(blocked.blocks)(*(array[index] for array in blocked.blocks))
    order = np.where((index == EMPTY)[:, None], EMPTY, blocked.order[index])
    return Call(blocks, np.asarray([len(part) for part in parts], np.int32), order)
