"""One benchmark case, and the files that store a case of ours."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from interpbench_jax.circuit import Circuit
from interpbench_jax.config import TransformerConfig
from interpbench_jax.display import html_table
from interpbench_jax.drawings import beside
from interpbench_jax.jsontext import check_format, parse_json_object
from interpbench_jax.storage import make_folder, read_text, write_files
from interpbench_jax.texts import shown
from interpbench_jax.travel import Travels
from interpbench_jax.weights import check_weights, encode_weights, load_weights

if TYPE_CHECKING:
    from interpbench_jax.cases import Seed, Split, Task, TaskPairs, TruthName
    from interpbench_jax.high_level import HighLevelModel
    from interpbench_jax.model import Transformer
    from interpbench_jax.pairs import PairStream
    from interpbench_jax.rasp import Value

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CIRCUIT_FILE = "circuit.json"

_FORMAT = "interpbench-case"
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class Case(Travels):
    """A model whose circuit is known.

    Attributes:
        case_id: the id that upstream gives the case: `"11"`, `"ioi"`, ...
        config: the model's config.
        weights: every weight by its TransformerLens name, as it was stored.
        circuit: the edges that matter; None if the files contain no circuit.
        vocab: the token of every id, including BOS and PAD; None if it is not known.
        task_description: a description of what the model computes; empty if it is not known.
        provenance: the origin of the files (plain JSON values).

    Raises:
        ValueError: if the parts do not match.
    """

    case_id: str
    config: TransformerConfig
    weights: Mapping[str, np.ndarray] = field(repr=False, compare=False)
    circuit: Circuit | None = field(repr=False)
    vocab: tuple[str, ...] | None = field(default=None, repr=False)
    task_description: str = ""
    provenance: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        try:
            check_weights(self.config, self.weights)
        except ValueError as error:
            raise ValueError(f"Case {shown(self.case_id)}: {error}") from None
        shape = (self.config.n_layers, self.config.n_heads)
        circuit = self.circuit
        if circuit is not None and (circuit.n_layers, circuit.n_heads) != shape:
            raise ValueError(
                f"Case {shown(self.case_id)}: expected a circuit of {shape[0]} layers of "
                f"{shape[1]} heads, got {circuit.n_layers} of {circuit.n_heads}."
            )
        if self.vocab is not None and len(set(self.vocab)) != len(self.vocab):
            raise ValueError(
                f"Case {shown(self.case_id)}: expected distinct tokens, got {shown(self.vocab)}."
            )
        if self.vocab is not None and len(self.vocab) != self.config.d_vocab:
            raise ValueError(
                f"Case {shown(self.case_id)}: expected {self.config.d_vocab} tokens, got "
                f"{len(self.vocab)}; the model was probably made for another vocabulary."
            )
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    def _repr_html_(self) -> str:
        config = self.config
        rows = [
            ("task", self.task_description),
            (
                "model",
                f"{config.n_layers} layers of {config.n_heads} heads, d_model "
                f"{config.d_model}, d_mlp {config.d_mlp}, {config.d_vocab} tokens",
            ),
            ("circuit", "not known" if self.circuit is None else f"{len(self.circuit)} edges"),
            ("weights from", self.provenance.get("source", "")),
        ]
        return beside(html_table(f"Case {self.case_id}", ("", ""), rows), self)

    @cached_property
    def model(self) -> "Transformer":
        """The model, built on first use.

        Its precision is that of the stored weights, or float32 for float64 weights if
        `jax_enable_x64` is off.
        """
        from interpbench_jax.model import build_model

        return build_model(self.config, self.weights)

    @property
    def task(self) -> "Task":
        """Our declaration of the task: the program, its data and the high-level model.

        The declared task can differ from the one that a converted model was trained on: cases 8
        and 38 look ahead here but were released with a causal mask.

        Raises:
            ValueError: if no task is declared under this id, or its tokens differ.
        """
        from interpbench_jax.cases import CASES, task_of

        task = task_of(self.case_id)
        if task is None:
            raise ValueError(
                f"Expected a case whose task is declared ({', '.join(CASES)}), got "
                f"{shown(self.case_id)}; CONTRIBUTING.md says how to add one."
            )
        task = task.in_vocabulary_of(self.config)
        if self.vocab is not None and set(self.vocab) != set(task.token_ids):
            raise ValueError(
                f"Case {shown(self.case_id)}: expected the declared task's tokens "
                f"{sorted(task.token_ids)}, got {shown(sorted(self.vocab))}."
            )
        return task

    def truth(self, name: "TruthName" = "complete") -> Circuit:
        """A circuit to score against.

        Args:
            name: `"complete"`: the circuit in the case's files, which for our models is
                `task.complete_circuit`; `"upstream"`: the circuit that InterpBench lists.

        Raises:
            ValueError: if the circuit is not known, or there is no truth of that name.
        """
        if name != "complete":
            return self.task.truth(name)
        if self.circuit is None:
            raise ValueError(f"Expected a case whose circuit is known, got {shown(self.case_id)}.")
        return self.circuit

    @property
    def high_level(self) -> "HighLevelModel":
        """`task.high_level`: the program as a model that supports interchange."""
        return self.task.high_level

    def sample(
        self,
        n: int,
        seed: "Seed",
        *,
        split: "Split | None" = None,
        unique: bool = False,
        variable_length: bool | None = None,
        counterfactual: str | None = None,
    ) -> "TaskPairs":
        """`task.sample`: pairs of inputs, the targets of both, and the objective of runs."""
        return self.task.sample(
            n,
            seed,
            split=split,
            unique=unique,
            variable_length=variable_length,
            counterfactual=counterfactual,
        )

    def stream(
        self,
        n: int,
        seed: int,
        *,
        split: "Split | None" = None,
        variable_length: bool | None = None,
        counterfactual: str | None = None,
    ) -> "PairStream":
        """`task.stream`: the pairs of `sample`, drawn block by block whenever they are needed."""
        return self.task.stream(
            n,
            seed,
            split=split,
            variable_length=variable_length,
            counterfactual=counterfactual,
        )

    def all_inputs(self, split: "Split | None" = None) -> np.ndarray:
        """`task.all_inputs`: int32 `[inputs, pos]`, if there are at most a million."""
        return self.task.all_inputs(split)

    def encode(self, sequence: "Sequence[Value]") -> np.ndarray:
        """`task.encode`: the ids of a sequence of tokens, int32 `[pos]`."""
        return self.task.encode(sequence)

    def decode(self, ids: "Sequence[int] | np.ndarray") -> tuple[str, ...]:
        """`task.decode`: the tokens of a sequence of ids."""
        return self.task.decode(ids)

    def save(self, directory: Path | str) -> Path:
        """Write `model.safetensors`, `config.json` and `circuit.json` into a folder.

        All files are written under temporary names before the first one is moved into place, with
        `config.json` last: a full disk changes nothing, and a folder that has a `config.json` is
        complete. `config.json` stores the digest of the weights, so that a save that was killed
        between two files is detected.

        Returns:
            The folder.

        Raises:
            OSError: if the folder cannot be created or written to.
            TypeError: if the provenance has a value that is not JSON; nothing is written.
        """
        directory = Path(directory)
        weights = encode_weights(self.weights)
        contents: dict[Path, bytes | str] = {directory / WEIGHTS_FILE: weights}
        if self.circuit is not None:
            contents[directory / CIRCUIT_FILE] = self.circuit.to_json() + "\n"
        contents[directory / CONFIG_FILE] = self._describe(hashlib.sha256(weights).hexdigest())
        old = [directory / CIRCUIT_FILE] if self.circuit is None else []
        make_folder(directory)
        write_files(contents, remove=old)
        return directory

    def _describe(self, weights_sha256: str) -> str:
        described = {
            "format": _FORMAT,
            "version": 1,
            "case_id": self.case_id,
            "task_description": self.task_description,
            "vocab": None if self.vocab is None else list(self.vocab),
            "transformer": json.loads(self.config.to_json()),
            "provenance": dict(self.provenance),
            "weights_sha256": weights_sha256,
        }
        return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def is_case_directory(directory: Path) -> bool:
    """Whether a folder contains a case in our own layout."""
    return (directory / CONFIG_FILE).is_file()


def read_case(directory: Path | str) -> Case:
    """Read a case that `Case.save` wrote.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is invalid; the message names it.
    """
    directory = Path(directory)
    path = directory / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"Expected a case with {path.name} in {directory}, found none.")
    try:
        described = parse_json_object(read_text(path, _MOST_BYTES), "a case's config")
        _check_header(described)
        config = TransformerConfig.from_json(json.dumps(described["transformer"]))
        vocab = _read_vocab(described["vocab"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    circuit = None
    circuit_path = directory / CIRCUIT_FILE
    if circuit_path.is_file():
        try:
            circuit = Circuit.from_json(read_text(circuit_path, _MOST_BYTES))
        except ValueError as error:
            raise ValueError(f"{circuit_path}: {error}") from None
    provenance = described["provenance"]
    assert isinstance(provenance, dict)  # _check_header
    return Case(
        case_id=str(described["case_id"]),
        config=config,
        weights=load_weights(directory / WEIGHTS_FILE, config, str(described["weights_sha256"])),
        circuit=circuit,
        vocab=vocab,
        task_description=str(described["task_description"]),
        provenance=provenance,
    )


def _check_header(described: Mapping[str, object]) -> None:
    check_format(described, _FORMAT)
    types = {
        "case_id": str,
        "task_description": str,
        "vocab": (list, type(None)),
        "transformer": dict,
        "provenance": dict,
        "weights_sha256": str,
    }
    keys = {"format", "version", *types}
    if set(described) != keys:
        raise ValueError(f"Expected the keys {sorted(keys)}, got {shown(sorted(described))}.")
    for key, kinds in types.items():
        if not isinstance(described[key], kinds):
            raise ValueError(
                f"Expected {key} to be of a type other than {type(described[key]).__name__}."
            )


def _read_vocab(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    assert isinstance(value, list)  # _check_header
    if not all(isinstance(token, str) for token in value) or len(set(value)) != len(value):
        raise ValueError("Expected vocab to be a list of distinct strings.")
    return tuple(value)
