"""The settings that a random task is made by."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from interpbench_jax.bands import Band, check_band

Gate = Literal["latin", "threshold"]
GATES: tuple[Gate, ...] = get_args(Gate)


@dataclass(frozen=True, kw_only=True)
class Dials:
    """The settings that a random task is made by.

    Attributes:
        hops: the number of fetches, one after another, 1 to 3. Each goes to a position that the
            token found before it tells.
        fan_out: how many of the fetched tokens the output depends on directly, 1 to `hops`; more
            than 1 only for a single task.
        gate: how the output combines two values: `"latin"`: by a random Latin square, so that
            every change of either changes it, as with XOR; `"threshold"`: by their sum, in steps,
            so that some changes do not, as with OR and AND.
        copies: heads that fetch the last token, 1 or 3; of three, the majority counts, so that
            cutting one of them changes nothing.
        tasks: programs in the model, 1 or 2; the first tokens select one for each input.
        markers: of two tasks, how many tokens at the start select the second one, if all of them
            are among the marks; 1 to 3.
        marks: how many of the tokens are marks.
        leak: the band, as shares of the smallest change that an edge of the program makes, within
            which the model is to be changed by cutting any edge outside the circuit; None if such
            a cut is to change nothing. Like every setting, it is part of the draw.
        n_tokens: the number of different tokens, 3 to 100.
        length: positions of an input, BOS not counted, 3 to 100.
        n_layers: layers of the model; None for as many as the program needs.
        n_heads: heads of each layer; None for the larger of 4 and what the program needs.
        scattered: whether the program's heads are at random places in their layers, and its layers
            at random places in a model that has more of them; otherwise both come first.
        d_model: width of the model's residual stream.

    Raises:
        ValueError: if a setting is out of its range.
    """

    hops: int = 1
    fan_out: int = 1
    gate: Gate = "latin"
    copies: int = 1
    tasks: int = 1
    markers: int = 1
    marks: int = 1
    leak: Band | None = None
    n_tokens: int = 5
    length: int = 6
    n_layers: int | None = None
    n_heads: int | None = None
    scattered: bool = False
    d_model: int = 24

    def __post_init__(self) -> None:
        counts = dataclasses.asdict(self)
        del counts["gate"], counts["leak"], counts["scattered"]
        for name, count in counts.items():
            is_open = name in ("n_layers", "n_heads") and count is None
            if not is_open and (type(count) is not int or count < 1):
                raise ValueError(f"Expected {name} to be an int of at least 1, got {count!r}.")
        most_read = 1 if self.tasks == 2 else self.hops
        highest = {"hops": 3, "fan_out": most_read, "tasks": 2, "markers": 3}
        highest |= {"n_tokens": 100, "length": 100}
        for name, most in (highest | {"marks": self.n_tokens - 1}).items():
            if counts[name] > most:
                raise ValueError(f"Expected {name} to be at most {most}, got {counts[name]}.")
        if self.gate not in GATES:
            raise ValueError(f"Expected gate to be one of {', '.join(GATES)}; got {self.gate!r}.")
        if type(self.scattered) is not bool:
            raise ValueError(f"Expected scattered to be True or False, got {self.scattered!r}.")
        check_band("leak", self.leak)
        if self.copies not in (1, 3):
            raise ValueError(f"Expected 1 copy or 3, got copies={self.copies}.")
        if min(self.n_tokens, self.length) < 3 or self.length <= self.markers:
            raise ValueError(
                "Expected at least 3 tokens and 3 positions, and more positions than markers; got "
                f"n_tokens={self.n_tokens}, length={self.length} and markers={self.markers}."
            )

    @property
    def rarity(self) -> float:
        """The share of inputs on which the second task is selected; 0 if there is none."""
        return (self.marks / self.n_tokens) ** self.markers if self.tasks == 2 else 0.0

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that differ from the defaults, in the order of the attributes."""
        standard = Dials()
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if value != getattr(standard, name)
        }

    @property
    def text(self) -> str:
        """The settings that differ from the defaults, as `name=value`."""
        return ", ".join(f"{name}={value}" for name, value in self.changed.items())
