"""How many edits and inputs of a sweep run at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from interpbench_jax.engine.chips import Chip

# The most blocks of a call; how many it actually takes is not compiled in.
_CALL_BLOCKS = 64
_LOGITS_BYTES = 64 << 20


@dataclass(frozen=True)
class Chunks:
    """The shape of one call of a compiled program, on one device.

    All three are powers of two, so that sweeps of similar size share programs.

    Attributes:
        batch: inputs per call.
        edits: edits per block.
        blocks: blocks per call, at most.
    """

    batch: int
    edits: int
    blocks: int

    @property
    def rows(self) -> int:
        """Patched runs per block."""
        return self.batch * self.edits


def wanted_rows(chip: Chip, d_mlp: int, n_pos: int, itemsize: int) -> int:
    """The number of patched runs per block that is fastest on a chip: a power of two."""
    rows = chip.block_bytes // (d_mlp * n_pos * itemsize)
    return _power(min(max(rows, chip.least_rows), chip.most_rows))


def choose_chunks(
    places: Sequence[int], n_inputs: int, most_rows: int, overhead_rows: int
) -> Chunks:
    """The chunks with the least padding and overhead.

    Args:
        places: how many edits enter at each place; a block has edits of one place.
        n_inputs: the number of inputs of the sweep.
        most_rows: the most patched runs per block.
        overhead_rows: the cost of a block besides its rows, in rows: dispatch, and products with
            short sides.
    """

    def cost(batch: int, edits: int) -> tuple[int, int]:
        blocks = sum(-(-count // edits) for count in places)
        chunks = -(-n_inputs // batch)
        return blocks * chunks * (overhead_rows + batch * edits), -batch

    options = [
        (batch, edits)
        for batch in _powers(min(most_rows, _power_above(n_inputs)))
        for edits in _powers(min(most_rows // batch, _power_above(max(places, default=1))))
    ]
    batch, edits = min(options, key=lambda option: cost(*option))
    return Chunks(batch, edits, _CALL_BLOCKS)


def limit_logits(chunks: Chunks, bytes_per_row: int) -> Chunks:
    """Fewer blocks per call where their logits are kept."""
    most = max(1, _LOGITS_BYTES // (bytes_per_row * chunks.rows))
    return Chunks(chunks.batch, chunks.edits, min(chunks.blocks, _power(most)))


def _powers(most: int) -> list[int]:
    return [1 << exponent for exponent in range(max(most, 1).bit_length())]


def _power(number: int) -> int:
    """The largest power of two up to a number."""
    return 1 << (max(number, 1).bit_length() - 1)


def _power_above(number: int) -> int:
    """The smallest power of two from a number on."""
    return 1 << (max(number, 1) - 1).bit_length()
