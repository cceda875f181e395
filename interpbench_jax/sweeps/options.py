"""How a sweep is computed, apart from what it computes."""

from dataclasses import dataclass
from pathlib import Path

from jax.sharding import Mesh

from interpbench_jax.names import Progress


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How a sweep is computed and what is kept of it; no option changes an effect.

    Every sweep takes one: `sweep_edges(model, pairs, options=SweepOptions(save_to="folder"))`.

    Attributes:
        max_bytes: the memory that the compiled programs may take, by XLA's account; it decides how
            many edits and inputs are run at a time. The logits that `return_logits` keeps come on
            top. The default is 512 MiB on a CPU and 4 GiB elsewhere; on a CPU more is hardly ever
            faster.
        mesh: the devices that share the work, as `sweep_mesh` returns them; the default is one.
        save_to: a folder for finished parts, and for `effects.parquet` at the end. A sweep that
            was interrupted is resumed from there when it is called again, with the same result.
            It needs pyarrow (the `bench` extra).
        return_logits: whether to keep the logits of every patched run.
        explain: whether to print how the sweep is going to be computed.
        progress: called with the number of finished steps and of all steps: calls of the compiled
            program and, for `"optimal"`, writers whose constant is learned first.
    """

    max_bytes: int | None = None
    mesh: Mesh | None = None
    save_to: str | Path | None = None
    return_logits: bool = False
    explain: bool = False
    progress: Progress | None = None


DEFAULT_OPTIONS = SweepOptions()
