"""Programs rendered as text."""

from interpbench_jax.cases import RASP_CASES
from interpbench_jax.rasp import (
    Aggregate,
    Comparison,
    LinearSequenceMap,
    Map,
    Select,
    SelectorWidth,
    lookup,
    numerical,
    shift,
    tokens,
    width,
)


def test_named_and_shared_parts_have_lines_of_their_own() -> None:
    assert str(RASP_CASES["11"].program).splitlines() == [
        "length = map(len, tokens)",
        "length_of_alike = aggregate(select(key length == query length), length)",
    ]
    same = Select(tokens, tokens, Comparison.EQ)
    assert str(SelectorWidth(same) + Aggregate(same, tokens)).splitlines() == [
        "select = select(key tokens == query tokens)",
        "output = sequence_map(+, width(select), aggregate(select, tokens))",
    ]


def test_each_operation() -> None:
    assert str(tokens) == "tokens"
    assert str(tokens - 1) == "output = map(- 1, tokens)"
    assert str(1 - tokens) == "output = map(1 -, tokens)"
    assert "query tokens: query" not in str(shift(tokens, 1))
    number = numerical(Map(len, tokens))
    assert str(LinearSequenceMap(number, number, 2, -0.5)).splitlines() == [
        "map = map(len, tokens, numerical)",
        "output = 2 * map - 0.5 * map",
    ]
    select = Select(tokens, tokens, Comparison.EQ)
    combined = (select & ~select) | Select(tokens, tokens, Comparison.FALSE)
    assert str(SelectorWidth(combined)).splitlines() == [
        "select = select(key tokens == query tokens)",
        "output = width(((select and (not select)) or select(false)))",
    ]
    assert str(numerical(width(tokens, tokens, Comparison.TRUE))) == (
        "output = width(select(true), numerical)"
    )


def test_equal_names_stay_apart_and_long_tables_are_counted() -> None:
    first = Map(lookup({str(i): i for i in range(40)}), tokens, name="same")
    second = (first + 1).named("same")
    assert str(second).splitlines() == [
        "same = map(table of 40, tokens)",
        "same_2 = map(+ 1, same)",
    ]
