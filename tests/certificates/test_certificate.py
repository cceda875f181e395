"""The certificate as a value and as a file."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interpbench_jax.certificates import (
    CERTIFICATE_FILE,
    Certificate,
    CircuitAlone,
    EdgeCheck,
    EdgeEffect,
    NodeEffect,
    read_certificate,
)

CERTIFICATE = Certificate(
    case_id="7",
    weights_sha256="0123456789abcdef" * 4,
    n=10_000,
    seed=1,
    distinct_inputs=26,
    split_inputs=26,
    atol=0.05,
    leak=None,
    accuracy=0.9999,
    sequence_accuracy=0.999,
    iia={"first": 0.997, "second, third": 1.0},
    joint_iia={"first + second, third": 0.9965},
    edge_accuracy={"hook_embed -> blocks.0.hook_mlp_in": 0.9985},
    strict_accuracy={"blocks.0.attn.hook_result[1]": 0.998},
    alignment={
        "first": ("blocks.0.mlp.hook_post",),
        "second, third": ("blocks.0.attn.hook_result[0]",),
    },
    metric="l2",
    nodes={
        "blocks.0.attn.hook_result[0]": NodeEffect(0.5, 0.75, 0.25),
        "blocks.0.attn.hook_result[1]": NodeEffect(1e-7, 2e-7, -0.001),
        "blocks.0.mlp.hook_post": NodeEffect(0.25, 0.375, 0.5),
    },
    circuit_alone=CircuitAlone(0.99, 0.98, 0.97, 0.96),
    edges=EdgeCheck(
        n=1000,
        noise_floor=1e-6,
        auc={"effect": {"head": 0.9, "head-no-embed": None}},
        edges={
            "head": (
                EdgeEffect(
                    "blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out", "in", 0.2, 0.25, 0.0
                ),
            )
        },
    ),
    versions={"jax": "1.2.3"},
)


def test_json_round_trip(tmp_path: Path) -> None:
    text = CERTIFICATE.to_json()
    assert Certificate.from_json(text) == CERTIFICATE
    assert Certificate.from_json(text).to_json() == text
    path = CERTIFICATE.save(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / CERTIFICATE_FILE
    assert read_certificate(path.parent) == CERTIFICATE
    assert [each.name for each in path.parent.iterdir()] == [CERTIFICATE_FILE]


def test_what_it_says() -> None:
    assert (CERTIFICATE.lowest_iia, CERTIFICATE.lowest_strict) == (0.997, 0.998)
    assert (CERTIFICATE.lowest_joint, CERTIFICATE.lowest_edge) == (0.9965, 0.9985)
    assert CERTIFICATE.lowest == 0.96  # with every edge outside the circuit resampled
    assert CERTIFICATE.smallest_inside == NodeEffect(0.25, 0.375, 0.25)
    assert CERTIFICATE.largest_outside == NodeEffect(1e-7, 2e-7, -0.001)
    alone = dataclasses.replace(
        CERTIFICATE,
        **{name: {} for name in ("strict_accuracy", "iia", "joint_iia", "edge_accuracy")},
        alignment={},
        nodes={},
        circuit_alone=CircuitAlone(1.0, 1.0, 1.0, 1.0),
    )
    assert (alone.lowest, alone.largest_outside, alone.smallest_inside) == (0.9999, None, None)
    assert hash(CERTIFICATE) == hash(Certificate.from_json(CERTIFICATE.to_json()))


def put(*path: str | int) -> Callable[[dict[str, Any], object], None]:
    """Return a change that sets one value of the parsed certificate."""

    def change(data: Any, value: object) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


HOSTILE: list[tuple[Callable[[dict[str, Any], object], None], object, str]] = [
    (put("format"), "interpbench-case", '"format": "interpbench-certificate"'),
    (put("version"), 2, "comes from a newer release"),
    (put("extra"), 1, r"missing: \[\], left over: \['extra'\]"),
    (put("accuracy"), None, "Expected accuracy to be a finite number, got None"),
    (put("accuracy"), True, "Expected accuracy to be a finite number, got True"),
    (put("accuracy"), 1.01, "Expected accuracy to be from 0 to 1, got 1.01"),
    (put("accuracy"), float("nan"), "Expected accuracy to be a finite number, got nan"),
    (put("iia", "first"), "1", r"Expected iia\['first'\] to be a finite number"),
    (put("iia"), [1], "Expected iia to be an object"),
    (put("iia"), {}, "Expected alignment to have the same names as iia"),
    (put("strict_accuracy"), {}, "Expected nodes to have the same names as alignment and strict"),
    (put("alignment", "first"), "x", r"Expected alignment\['first'\] to be a list"),
    (put("alignment", "first"), [3], r"alignment\['first'\]\[0\] to be a string"),
    (put("n"), 1.5, "Expected n to be an integer of at least 0"),
    (put("n"), -1, "Expected n to be an integer of at least 0"),
    (put("seed"), False, "Expected seed to be an integer of at least 0"),
    (put("split_inputs"), "many", "Expected split_inputs to be an integer"),
    (put("metric"), "kl " * 50, "Expected metric to be one of kl, cross_entropy"),
    (put("metric"), [], "Expected metric to be one of kl, cross_entropy"),
    (put("weights_sha256"), "00", "Expected weights_sha256 to be 64 hexadecimal digits"),
    (put("nodes"), None, "Expected nodes to be an object"),
    (
        put("nodes", "blocks.0.mlp.hook_post"),
        {},
        r"missing: \['accuracy_drop', 'centred', 'effect'\]",
    ),
    (put("circuit_alone", "edges_mean"), 2, "circuit_alone.edges_mean to be from 0 to 1"),
    (put("edges", "auc", "effect"), 1, r"Expected edges.auc\['effect'\] to be an object"),
    (put("edges", "noise_floor"), 10**400, "edges.noise_floor to be a finite number, got 1000"),
    (put("edges", "edges", "head", 0, "src"), None, r"edges\['head'\]\[0\].src to be a string"),
    (put("edges", "edges", "head", 0, "truth"), "yes", r"truth to be one of in, out, constant"),
    (put("joint_iia"), None, "Expected joint_iia to be an object"),
    (put("versions", "jax"), 1, r"versions\['jax'\] to be a string"),
]


@pytest.mark.parametrize(("change", "value", "message"), HOSTILE)
def test_hostile_json(
    change: Callable[[dict[str, Any], object], None], value: object, message: str
) -> None:
    data = json.loads(CERTIFICATE.to_json())
    change(data, value)
    with pytest.raises(ValueError, match=message):
        Certificate.from_json(json.dumps(data))


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Certificate)])
def test_nothing_may_be_missing(name: str) -> None:
    data = json.loads(CERTIFICATE.to_json())
    del data[name]
    with pytest.raises(ValueError, match=rf"missing: \['{name}'\]"):
        Certificate.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 1}'])
def test_what_is_no_certificate(text: str, tmp_path: Path) -> None:
    (tmp_path / CERTIFICATE_FILE).write_text(text)
    with pytest.raises(ValueError, match=f"{CERTIFICATE_FILE}: Expected"):
        read_certificate(tmp_path)


def test_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`interpbench certify FOLDER`"):
        read_certificate(tmp_path)
    with pytest.raises(FileNotFoundError, match="found none"):
        read_certificate(tmp_path / "no such folder")
