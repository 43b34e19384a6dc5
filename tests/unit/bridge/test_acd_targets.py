"""What a queue is meant to achieve: its own figure, else its parent's, else that of everywhere."""

import pytest

from bridge.acd import Target, inherited

EVERYWHERE = Target(answer_within=20.0, share=0.8, short_abandon=5.0)


def test_each_figure_is_inherited_for_itself() -> None:
    own = {
        "top": Target(share=0.9, concurrency=3.0),
        "mid": Target(answer_within=60.0),
        "low": Target(share=0.5),
        "alone": Target(),
    }
    assert inherited(own, {"mid": "top", "low": "mid"}, EVERYWHERE) == {
        "top": Target(20.0, 0.9, 5.0, 3.0),
        "mid": Target(60.0, 0.9, 5.0, 3.0),
        "low": Target(60.0, 0.5, 5.0, 3.0),
        "alone": EVERYWHERE,
    }


def test_zero_is_a_figure() -> None:
    assert inherited({"a": Target(short_abandon=0.0)}, {}, EVERYWHERE)["a"].short_abandon == 0.0


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_no_queue_is_above_itself(parents: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has itself above it"):
        inherited(dict.fromkeys("abc", Target()), parents, EVERYWHERE)
