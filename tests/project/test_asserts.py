"""Each assert of the tests is about one value, so that the one that fails says what is wrong."""

import ast

import pytest

from tests.harness import ROOT


def faults(source: str) -> list[str]:
    """What is asserted in `source` of several values at a time."""
    tests = [node.test for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return [ast.unparse(test) for test in tests if isinstance(test, ast.Compare) and _has_several(test)]


def _has_several(test: ast.Compare) -> bool:
    sides = [test.left, *test.comparators]
    if sum(isinstance(operator, ast.Eq) for operator in test.ops) > 1:
        return True
    if not isinstance(test.ops[0], ast.Eq):
        return False
    return all(_is_made_here(side) for side in sides) or any(_is_observed(side) for side in sides)


def _is_made_here(side: ast.expr) -> bool:
    return isinstance(side, ast.Tuple | ast.List) and len(side.elts) > 1


def _is_observed(side: ast.expr) -> bool:
    """Whether it is a tuple of attributes or items of what the test made, as `(answer.code, answer.text)`."""
    if not isinstance(side, ast.Tuple):
        return False
    return sum(isinstance(each, ast.Subscript | ast.Await) or _is_attribute(each) for each in side.elts) > 1


def _is_attribute(value: ast.expr) -> bool:
    """A member of a class, as `Source.EDGE`, is a constant."""
    if not isinstance(value, ast.Attribute):
        return False
    return not (isinstance(value.value, ast.Name) and value.value.id[:1].isupper())


def test_an_assert_is_about_one_value() -> None:
    found = {str(file.relative_to(ROOT)): faults(file.read_text()) for file in (ROOT / "tests").rglob("*.py")}

    assert {} == {file: asserts for file, asserts in found.items() if asserts}


@pytest.mark.parametrize(
    ("source", "has_faults"),
    [
        ("assert (1, 2) == (answer.code, answer.text)", True),
        ("assert [True, False] == [await first(), second]", True),
        ("assert expected == (answer.code, answer.text)", True),
        ("assert 1 == first == second", True),
        ("assert (1, 2) == (*first, second), 'why'", True),
        ("assert [1, 2] == listed", False),
        ("assert (Source.EDGE, Reason.NONE) == found", False),
        ("assert {'code': 1, 'text': ''} == {'code': answer.code, 'text': answer.text}", False),
        ("assert [1, 2] == [each.code for each in answers]", False),
        ("assert 0 < seconds < 1", False),
    ],
)
def test_what_is_several_values(source: str, has_faults: bool) -> None:
    assert has_faults == bool(faults(source))
