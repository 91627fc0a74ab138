from __future__ import annotations

from typing import Any

from search_spaces.layers import Origin, StudyLayers, format_key, iter_leaves, parse_key


def merge(layers: StudyLayers, name: str, level: int, tree: dict[str, Any]) -> None:
    layers.merge(tree, lambda _path: Origin(name, level))


def stack(*trees: dict[str, Any]) -> StudyLayers:
    layers = StudyLayers(Origin("root"))
    for level, tree in enumerate(trees):
        merge(layers, f"layer {level}", level, tree)
    return layers


def test_mappings_merge_and_lists_are_replaced() -> None:
    layers = stack({"a": {"x": 1, "y": 2}, "l": [1, 2]}, {"a": {"y": 3, "z": 4}, "l": [5]})
    assert layers.tree == {"a": {"x": 1, "y": 3, "z": 4}, "l": [5]}
    assert layers.origin_at(("a", "x")) == Origin("layer 0", 0)
    assert layers.origin_at(("a", "y")) == Origin("layer 1", 1)
    assert layers.origin_at(("a",)) == Origin("layer 0", 0)
    assert layers.origin_at(("l", 0)) == Origin("layer 1", 1)
    assert layers.origin_at(("l", 1)) is None


def test_null_removes_a_key_but_keeps_its_origin() -> None:
    layers = stack({"a": {"x": 1, "y": 2}}, {"a": {"x": None}, "b": {"c": None}})
    assert layers.tree == {"a": {"y": 2}, "b": {}}
    assert layers.origin_at(("a", "x")) == Origin("layer 1", 1)


def test_a_mapping_of_another_kind_or_name_is_replaced() -> None:
    base = {"schedule": {"kind": "cosine-restarts", "period": 10}, "backbone": {"name": "mlp"}}
    layers = stack(base, {"schedule": {"kind": "constant"}, "backbone": {"hidden": [3]}})
    assert layers.tree == {
        "schedule": {"kind": "constant"},
        "backbone": {"name": "mlp", "hidden": [3]},
    }
    assert layers.origin_at(("schedule", "period")) is None


def test_choices_replace_an_interval_and_an_interval_replaces_choices() -> None:
    interval = {"space": {"low": 0.1, "high": 10, "log": True}}
    choices = {"space": {"choices": [0.1, 1]}}
    assert stack(interval, choices).tree == choices
    assert stack(choices, interval).tree == interval
    longer = stack(interval, {"space": {"high": 20}}).tree
    assert longer == {"space": {"low": 0.1, "high": 20, "log": True}}


def test_merging_does_not_change_the_given_mappings() -> None:
    first: dict[str, Any] = {"a": {"x": 1}}
    stack(first, {"a": {"y": 2}})
    assert first == {"a": {"x": 1}}


def test_the_nearest_origin_is_that_of_the_innermost_mapping() -> None:
    layers = stack({"a": {"x": 1}})
    assert layers.nearest_origin(("a", "q", "r")) == Origin("layer 0", 0)
    assert layers.nearest_origin(("b",)) == Origin("root")


def test_paths_and_leaves() -> None:
    tree = {"a": {"b": [1], "c": {}}, "d": None}
    assert list(iter_leaves(tree)) == [(("a", "b"), [1]), (("a", "c"), {}), (("d",), None)]
    assert parse_key("confirm.seeds.1") == ("confirm", "seeds", 1)
    assert format_key(("confirm", "seeds", 1)) == "confirm.seeds.1"
