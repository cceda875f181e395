"""The losses by hand and for a perfect model, and the outputs without a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interpbench_jax.training.losses import change_loss, logits_loss, output_loss


def test_cross_entropy_by_hand() -> None:
    logits = np.random.default_rng(0).standard_normal((3, 4, 5))
    targets = np.random.default_rng(1).integers(0, 5, (3, 4))
    terms = [
        np.log(np.exp(logits[row, pos]).sum()) - logits[row, pos, targets[row, pos]]
        for row in range(3)
        for pos in (1, 2, 3)  # position 0 is BOS
    ]
    found = output_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.int32))
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)


def test_squared_error_by_hand() -> None:
    logits = jnp.asarray([[[100.0], [1.0], [2.0]], [[100.0], [0.0], [4.0]]])
    targets = jnp.asarray([[0.0, 0.5, 2.0], [0.0, 1.0, 1.0]])
    assert float(output_loss(logits, targets)) == (0.25 + 0 + 1 + 9) / 4


def entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the cross-entropy at every position."""
    rows = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(np.take_along_axis(rows, targets[..., None], axis=-1)[..., 0])


@pytest.fixture
def outputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 6, 5)), rng.integers(0, 5, (3, 6)).astype(np.int32)


def loss_of(
    logits: np.ndarray, targets: np.ndarray, weights: tuple[float, ...] | None = None
) -> float:
    return float(output_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(targets), weights))


@pytest.mark.parametrize(
    "weights",
    [
        (0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0, 1.0, 1.0, 10.0),
        (0.0, 0.0, 0.5, 0.0, 3.0, 0.25),
        (2.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_a_weighted_mean(
    outputs: tuple[np.ndarray, np.ndarray], weights: tuple[float, ...]
) -> None:
    logits, targets = outputs
    expected = np.average(entropies(logits, targets).mean(axis=0), weights=weights)
    assert loss_of(logits, targets, weights) == pytest.approx(expected, rel=1e-5)
    scaled = tuple(7 * weight for weight in weights)
    assert loss_of(logits, targets, scaled) == pytest.approx(expected, rel=1e-5)
    numbers = targets.astype(np.float32)
    squares = ((logits[..., 0] - numbers) ** 2).mean(axis=0)
    found = loss_of(logits[..., :1], numbers, weights)
    assert found == pytest.approx(np.average(squares, weights=weights), rel=1e-5)


def test_all_but_the_first_alike_by_default(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    assert loss_of(*outputs) == loss_of(*outputs, (0.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert loss_of(*outputs) != loss_of(*outputs, (1.0,) * 6)


def test_the_last_position_only(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    logits, targets = outputs
    weights = (0.0,) * 5 + (1.0,)
    expected = entropies(logits, targets)[:, -1].mean()
    assert loss_of(logits, targets, weights) == pytest.approx(expected, rel=1e-5)
    gradient = jax.grad(output_loss)(jnp.asarray(logits, jnp.float32), targets, weights)
    assert not np.asarray(gradient)[:, :-1].any() and np.asarray(gradient)[:, -1].all()


@pytest.mark.parametrize("n_last", [1, 2, 3])
def test_logits_of_the_last_positions_alone(
    outputs: tuple[np.ndarray, np.ndarray], n_last: int
) -> None:
    logits, targets = outputs
    for weights in ((0.0,) * 5 + (1.0,), (0.0,) * (6 - n_last) + (1.0, 2.0, 4.0)[-n_last:]):
        whole = loss_of(logits, targets, weights)
        assert loss_of(logits[:, -n_last:], targets, weights) == pytest.approx(whole, rel=1e-6)
    numbers = targets.astype(np.float32)
    whole = loss_of(logits[..., :1], numbers, weights)
    assert loss_of(logits[:, -n_last:, :1], numbers, weights) == pytest.approx(whole, rel=1e-6)


def test_padding_does_not_count(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    logits, targets = outputs
    is_real = np.arange(6)[None] < np.asarray([[6], [4], [2]])
    counts = is_real[:, 1:]
    expected = entropies(logits, targets)[:, 1:][counts].mean()
    found = output_loss(jnp.asarray(logits, jnp.float32), targets, is_real=jnp.asarray(is_real))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_logits_by_hand() -> None:
    logits = jnp.asarray([[[3.0, 1.0, 2.0], [10.0, 0.0, 0.0], [110.0, 100.0, 100.0]]])
    wanted = jnp.asarray([[[10.0, 0.0, 0.0]] * 3])
    # Centred: (1, -1, 0) minus (20, -10, -10) / 3; a shift of all logits changes nothing.
    first = ((1 - 20 / 3) ** 2 + (-1 + 10 / 3) ** 2 + (10 / 3) ** 2) / 3
    np.testing.assert_allclose(logits_loss(logits, wanted), [[first, 0, 0]], atol=1e-5)
    # Too much confidence is an error too, which cross-entropy would not notice.
    surer = logits_loss(jnp.asarray([[[30.0, 0.0, 0.0]]]), wanted[:, :1])
    np.testing.assert_allclose(surer, [[(400 * 2 / 3) / 3 * 1.0]], rtol=1e-5)
    # By default the first position is BOS, which is not scored.
    assert float(output_loss(logits, wanted)) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_logits_of_classes_that_stacking_adds_change_nothing() -> None:
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    wanted = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, 4)), jnp.float32)
    more = jnp.concatenate([logits, jnp.full((2, 3, 2), -jnp.inf)], axis=-1)
    padded = jnp.pad(wanted, ((0, 0), (0, 0), (0, 2)))
    np.testing.assert_allclose(output_loss(more, padded), output_loss(logits, wanted), rtol=1e-6)
    gradient = jax.grad(output_loss)(more, padded)
    np.testing.assert_allclose(gradient[..., :4], jax.grad(output_loss)(logits, wanted), atol=1e-7)
    assert not np.asarray(gradient[..., 4:]).any()


@pytest.mark.slow
def test_classes_that_stacking_adds_change_nothing() -> None:
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)), jnp.float32)
    targets = jnp.asarray([[0, 1, 2], [0, 3, 3]], jnp.int32)
    more = jnp.concatenate([logits, jnp.full((2, 3, 2), -jnp.inf)], axis=-1)
    np.testing.assert_allclose(output_loss(more, targets), output_loss(logits, targets), rtol=1e-6)
    gradient = jax.grad(output_loss)(more, targets)
    np.testing.assert_allclose(gradient[..., :4], jax.grad(output_loss)(logits, targets), atol=1e-7)
    assert not np.asarray(gradient[..., 4:]).any()


WEIGHTS = (0.0, 1.0, 3.0)
EVERY = jnp.ones((4, 3), bool)


def test_a_change_is_a_share_of_what_is_changed() -> None:
    rng = np.random.default_rng(0)
    reference, change = rng.standard_normal((2, 4, 3, 5))
    shares = np.broadcast_to(WEIGHTS, (4, 3))
    wanted = np.average(change.var(axis=-1), weights=shares)
    wanted /= np.average(reference.var(axis=-1), weights=shares)
    for scale in (1.0, 1e-3, 1e3):
        # What all classes have in common changes no answer.
        logits = jnp.asarray(scale * (reference + change) + 7, jnp.float32)
        scaled = jnp.asarray(scale * reference, jnp.float32)
        found = change_loss(logits, scaled, WEIGHTS, counts=EVERY)
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
        assert float(change_loss(scaled, scaled, WEIGHTS, counts=EVERY)) == 0


def test_what_does_not_count_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    reference, change = jnp.asarray(rng.standard_normal((2, 4, 3, 5)), jnp.float32)
    counts = jnp.asarray([[True, True, False]] * 2 + [[False] * 3] * 2)
    is_seen = counts & (jnp.asarray(WEIGHTS)[None] > 0)
    moved = jnp.where(is_seen[..., None], reference, reference + change)
    assert float(change_loss(moved, reference, WEIGHTS, counts=counts)) == 0
    nobody = jnp.zeros((4, 3), bool)
    assert float(change_loss(change, reference, WEIGHTS, counts=nobody)) == 0


def test_a_change_of_classes_that_a_model_lacks() -> None:
    """The loss and its gradient are those of the other classes alone."""
    rng = np.random.default_rng(2)
    reference, change = jnp.asarray(rng.standard_normal((2, 4, 3, 5)), jnp.float32)
    hidden = jnp.full((4, 3, 2), -jnp.inf)

    def loss(logits: jax.Array, n_hidden: int) -> jax.Array:
        both = [
            jnp.concatenate([each, hidden[..., :n_hidden]], axis=-1) for each in (logits, reference)
        ]
        return change_loss(both[0], both[1], WEIGHTS, counts=EVERY)

    alone, among = (jax.value_and_grad(loss)(reference + change, n) for n in (0, 2))
    np.testing.assert_allclose(among[0], alone[0], rtol=1e-6)
    np.testing.assert_allclose(among[1], alone[1], rtol=1e-5, atol=1e-8)
