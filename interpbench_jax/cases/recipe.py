"""Recipes: the settings that we train models with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from interpbench_jax.cases.training_arguments import TrainingArguments

Update = Literal["sum", "alternate"]
Sampling = Literal["batch", "example", "subsets", "mixed"]
Schedule = Literal["none", "linear", "plateau"]
Replaced = Literal["both", "either"]
Labels = Literal["own", "dense"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of strict interchange intervention training (arXiv:2407.14494).

    Our models are trained with the defaults unless their case sets other values. The defaults
    differ from release 1.0.0 (`Recipe.released`) as follows. Each step uses the sum of the losses:
    steps on one loss at a time undo one another, and case 24 then oscillates. The variables and
    the nodes to interchange are drawn per example, alone and several at once, so that no copy of a
    variable is left unread. Edges are cut too (`edge_weight`), because interchanging whole nodes
    neither distinguishes the edges that a value came by nor detects copies that cancel one
    another. Logits are bounded (`margin`), so that a confident answer hides no effect. The source
    runs are trained as well (`source_gradient`), without which case 11 does not converge. The
    learning rate falls to 0, and Adam's second moment averages over a hundred steps, not ten.

    Attributes:
        learning_rate: Adam's initial learning rate.
        schedule: `"none"`: a constant learning rate; `"linear"`: linear decay to 0 at the end of
            the last epoch; `"plateau"`: halved whenever the training loss has not fallen for
            three epochs.
        betas: Adam's two decay rates.
        clip_grad_norm: norm above which gradients are scaled down.
        epochs: maximum number of passes over the data.
        batch_size: examples per step.
        n_samples: number of inputs to draw, four fifths of them for training; a task with fewer
            inputs uses all of them.
        n_validation: number of held-out pairs on which each epoch is evaluated.
        iit_weight: weight of the interchange loss.
        behavior_weight: weight of the loss on plain outputs.
        strict_weight: weight of the loss on nodes outside the circuit.
        edge_weight: weight of the loss on runs with edges cut: edges outside the circuit, which
            must change nothing, and edges of the program, which must have the effect that they
            have in the program (`training.arrays.draw_edges`); 0 for no such loss.
        attention_weight: weight of the loss on attention: the cross-entropy, in nats, of where each
            head of the circuit attends to and where the program's head does; 0 for no such loss.
            A head that knows where to attend before what it reads means anything lets those that
            read it learn at once; without, deep programs are learned by other ways first.
        margin: for classes, losses are mean squared differences between the centered logits and
            those of a model in which the correct class is this much above the others, so that
            logits are bounded and no node can move them unnoticed; None for cross-entropy, which
            leaves the logits free as long as the answers are right. Cutting edges outside must then
            leave them as they are too (`training.losses.change_loss`).
        update: `"sum"`: one step on the weighted sum of the losses; `"alternate"`: one step on
            each loss in turn: interchange, strict, behavior.
        sampling: which aligned variables, and which nodes outside the circuit, are interchanged:
            `"batch"`: one for a whole batch; `"example"`: one per example; `"subsets"`: one per
            example, and each of the others with probability 1/2; `"mixed"`: as `"example"` for
            half of the examples and as `"subsets"` for the others.
        variable_odds: relative odds of each variable to be the one that is interchanged, in the
            order of the high-level model's nodes; empty for equal odds. A variable with few
            values seldom differs between base and source, and is learned last.
        replaced: `"both"`: each example is run once with variables interchanged and once with
            nodes outside the circuit replaced; `"either"`: half of a batch is run one way and
            half the other, which costs less and requires the update `"sum"`.
        source_gradient: whether the interchange and strict losses also train the source run
            (Geiger et al. 2022, arXiv:2112.00826), so that a node learns to write what its
            readers need; if False, the source's values are constants, as in release 1.0.0.
        average_decay: decay of the running mean of the weights that becomes the model; 0 for none.
        initializer_range: standard deviation of the initial weights; biases start at 0.
        outside_scale: factor on the initial outputs of the nodes outside the circuit; with a
            factor below 1, a deep model need not unlearn them before it learns the circuit.
        d_mlp: number of hidden units per MLP in a stage before the last; None, as the last stage
            requires, for the task's.
        hides_tokens: whether tokens are hidden, after every step, from each reader whose edge from
            the token embedding is outside the circuit: the directions in which embeddings differ
            are projected out of its weights (`training.hiding`). That silences these edges exactly.
            It needs a model without layer norms, with a `d_model` of at least the number of tokens.
        labels: labels for the loss on plain outputs: `"own"`: those that the task scores;
            `"dense"`: labels at as many positions as the task has them for
            (`Task.densely_labelled`), from which a model learns the tokens sooner.
        before: a recipe to train with first; this one starts from its final weights. Wide MLPs
            dominate the cost of training, and most is learned with narrow ones; the units that
            are added write nothing at first (as in Chen et al. 2016, arXiv:1511.05641).
        target: the share that accuracy, the lowest IIA and the lowest strict accuracy must all
            reach before training stops early.
        target_loss: the value that the sum of an epoch's mean losses, that on attention apart, must
            reach too; None to ignore it. The shares alone are reached long before all nodes
            outside are silent.
        atol: a regression output within this distance of its target counts as correct.
        note: the reason why a case's recipe differs from the defaults; empty if it does not.

    Raises:
        ValueError: if a value is outside its range.
    """

    learning_rate: float = 4e-3
    schedule: Schedule = "linear"
    betas: tuple[float, float] = (0.9, 0.99)
    clip_grad_norm: float = 1.0
    epochs: int = 10
    batch_size: int = 128
    n_samples: int = 120_000
    n_validation: int = 10_000
    iit_weight: float = 1.0
    behavior_weight: float = 1.0
    strict_weight: float = 1.0
    edge_weight: float = 1.0
    attention_weight: float = 0.0
    margin: float | None = 10.0
    update: Update = "sum"
    sampling: Sampling = "mixed"
    variable_odds: tuple[float, ...] = ()
    replaced: Replaced = "either"
    source_gradient: bool = True
    average_decay: float = 0.0
    initializer_range: float = 0.2
    outside_scale: float = 1.0
    d_mlp: int | None = None
    hides_tokens: bool = False
    labels: Labels = "own"
    before: "Recipe | None" = None
    target: float = 0.9999
    target_loss: float | None = 1e-6
    atol: float = 0.05
    note: str = ""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"Expected {name} to be one of {', '.join(choices)}; got "
                    f"{getattr(self, name)!r}."
                )
        for name in _COUNTS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"Expected {name} to be an int of at least 1, got {value!r}.")
        for name in _POSITIVE:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"Expected {name} to be a number above 0, got {value!r}.")
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"Expected {name} to be from 0 to 1, got {value!r}.")
        if self.d_mlp is not None and (type(self.d_mlp) is not int or self.d_mlp < 1):
            raise ValueError(
                f"Expected d_mlp to be an int of at least 1, or None; got {self.d_mlp!r}."
            )
        _check_widths(self)
        if self.replaced == "either" and (self.update != "sum" or self.batch_size % 2):
            raise ValueError(
                "Expected update='sum' and an even batch_size with replaced='either', got "
                f"{self.update!r} and {self.batch_size}."
            )
        if self.target_loss is not None and not 0 < self.target_loss < math.inf:
            raise ValueError(
                f"Expected target_loss to be a number above 0, or None; got {self.target_loss!r}."
            )
        if self.margin is not None and not 0 < self.margin < math.inf:
            raise ValueError(
                f"Expected margin to be a number above 0, or None; got {self.margin!r}."
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"Expected betas to be at least 0 and below 1, got {self.betas!r}.")
        if not all(0 < odds < math.inf for odds in self.variable_odds):
            raise ValueError(
                f"Expected variable_odds to be numbers above 0, got {self.variable_odds!r}."
            )
        for name in _WEIGHTS:
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"Expected {name} to be a number of at least 0, got {value!r}.")

    @property
    def stages(self) -> tuple["Recipe", ...]:
        """The recipes to train with, from first to last; the last is this one."""
        return (self,) if self.before is None else (*self.before.stages, self)

    @property
    def without_notes(self) -> "Recipe":
        """The same recipe without its notes, which do not change how a model is trained."""
        before = None if self.before is None else self.before.without_notes
        return replace(self, note="", before=before)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Recipe":
        """Read the recipe that a trained model's provenance records.

        A setting that the record lacks gets its default: it is newer than the record, and the
        default of a new setting is to train as before.

        Args:
            record: the settings by name, as `dataclasses.asdict` gives them and JSON holds them.

        Raises:
            ValueError: if the record has other settings, or one that is out of its range.
        """
        defaults = {field.name: field.default for field in fields(cls)}
        unknown = sorted(set(record) - set(defaults))
        if unknown:
            raise ValueError(f"Expected the settings of a recipe, got {', '.join(unknown)} too.")
        given = dict[str, Any]()
        for name, value in record.items():
            if name == "before" and value is not None:
                if not isinstance(value, Mapping):
                    raise ValueError(
                        f"Expected before to hold the settings of a recipe, or null; got {value!r}."
                    )
                given[name] = cls.from_record(value)
            elif isinstance(value, list):
                given[name] = tuple(value)
            elif type(value) is int and isinstance(defaults[name], float):
                given[name] = float(value)  # JSON does not tell 1.0 from 1
            else:
                given[name] = value
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"Expected the settings of a recipe: {error}.") from error

    @classmethod
    def released(cls, arguments: TrainingArguments) -> "Recipe":
        """The recipe of release 1.0.0, as its trainer applied it.

        Its trainer multiplies the strict loss by its weight twice. Source: InterpBench `220791e`
        with iit `ed44cbf`, `iit/model_pairs/strict_iit_model_pair.py`.
        """
        return cls(
            learning_rate=arguments.learning_rate,
            schedule="plateau" if arguments.lr_scheduler == "plateau" else "none",
            betas=(0.9, 0.9),
            clip_grad_norm=arguments.clip_grad_norm,
            epochs=arguments.epochs,
            batch_size=256,
            n_validation=24_000,
            iit_weight=arguments.iit_weight,
            behavior_weight=arguments.behavior_weight,
            strict_weight=arguments.strict_weight**2,
            edge_weight=0.0,
            margin=None,
            update="sum" if arguments.use_single_loss else "alternate",
            sampling="batch",
            replaced="both",
            source_gradient=False,
            initializer_range=arguments.initializer_range,
            target=0.995,
            target_loss=None,
            atol=arguments.atol,
        )


def then_silence(
    recipe: Recipe, *, epochs: int, learning_rate: float = 4e-3, edge_weight: float = 10.0
) -> Recipe:
    """A recipe, and then a stage in which the loss on edges weighs more, as its note says."""
    one = "Then a stage in which edges weigh more, to silence those outside."
    several = one.replace("a stage", "stages")
    earlier = recipe.note.removesuffix(f" {one}").removesuffix(f" {several}")
    note = f"{earlier} {one if earlier == recipe.note else several}"
    return replace(
        recipe,
        before=recipe,
        epochs=epochs,
        learning_rate=learning_rate,
        edge_weight=edge_weight,
        note=note,
    )


def _check_widths(recipe: Recipe) -> None:
    """Check that MLPs do not become narrower from one stage to the next."""
    before = recipe.before
    if before is None or recipe.d_mlp is None:
        return
    if before.d_mlp is None or before.d_mlp > recipe.d_mlp:
        raise ValueError(
            f"Expected the d_mlp of `before` to be at most the {recipe.d_mlp} of the recipe that "
            f"follows, got {before.d_mlp}: units can be added but not removed."
        )


_CHOICES = {
    "schedule": get_args(Schedule),
    "update": get_args(Update),
    "sampling": get_args(Sampling),
    "replaced": get_args(Replaced),
    "labels": get_args(Labels),
}
_COUNTS = ("epochs", "batch_size", "n_samples", "n_validation")
_POSITIVE = ("learning_rate", "clip_grad_norm", "initializer_range", "atol")
_SHARES = ("average_decay", "outside_scale", "target")
_WEIGHTS = (
    *("iit_weight", "behavior_weight", "strict_weight"),
    *("edge_weight", "attention_weight"),
)
