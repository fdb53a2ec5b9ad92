"""Union-find against the definition: classes are the connected components of what was said."""
import numpy as np
import pytest

from golden_stick.graph.ir import FIXED, Labels


def naive_classes(count, pairs):
    """Smallest member of each component, by spreading the smaller number until nothing changes."""
    classes = list(range(count))
    changed = True
    while changed:
        changed = False
        for one, other in pairs:
            low, high = sorted((classes[one], classes[other]))
            if FIXED not in (one, other) and low != high:
                classes = [low if item == high else item for item in classes]
                changed = True
    return np.array(classes)


def random_statements(seed):
    generator = np.random.default_rng(seed)
    labels, pairs, fixed = Labels(), [], {}
    count = 1 + sum(len(labels.fresh(int(size))) for size in generator.integers(2, 9, generator.integers(1, 6)))
    for _ in range(generator.integers(0, 12)):
        size = generator.integers(1, 5)
        first, second = generator.integers(0, count, (2, size))
        labels.unite(first, second)
        pairs += list(zip(first.tolist(), second.tolist()))
    for number in range(generator.integers(0, 3)):
        members = generator.integers(0, count, generator.integers(1, 3))
        labels.fix(members, f"reason {number}")
        fixed[f"reason {number}"] = set(members.tolist()) - {FIXED}
    return labels, count, pairs, fixed


def test_solution_equals_a_naive_reference_on_random_statements():
    for seed in range(150):
        labels, count, pairs, fixed = random_statements(seed)
        solution = labels.solve()
        classes = naive_classes(count, pairs)
        np.testing.assert_array_equal(solution.classes, classes)
        stays = {FIXED} | {classes[member] for members in fixed.values() for member in members}
        stays |= {classes[max(pair)] for pair in pairs if FIXED in pair}
        np.testing.assert_array_equal(solution.fixed, [item in stays for item in classes])
        np.testing.assert_array_equal(solution.removable(np.arange(count)), ~solution.fixed)
        for label in range(count):
            wanted = {reason for reason, members in fixed.items() if classes[label] in {classes[m] for m in members}}
            assert wanted <= set(solution.why_fixed(np.array([label])))


def test_a_long_chain_that_is_said_backwards_is_one_class():
    labels = Labels()
    chain = labels.fresh(2000)
    for one, other in zip(chain[::-1], chain[-2::-1]):
        labels.unite(np.array([one]), np.array([other]))
    assert set(labels.solve().classes[chain].tolist()) == {chain[0]}


def test_nothing_said_leaves_every_label_to_itself():
    labels = Labels()
    made = labels.fresh(4)
    solution = labels.solve()
    np.testing.assert_array_equal(solution.classes[made], made)
    assert solution.removable(made).all()
    assert solution.why_fixed(made) == ()


def test_an_empty_set_of_labels_holds_only_the_fixed_one():
    solution = Labels().solve()
    assert solution.classes.tolist() == [FIXED]
    assert solution.fixed.tolist() == [True]


def test_fresh_labels_are_new_and_never_the_fixed_one():
    labels = Labels()
    made = np.concatenate((labels.fresh(3), labels.fresh(5)))
    assert len(set(made.tolist())) == 8
    assert FIXED not in made


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_channels_are_fixed(count):
    made = Labels().fresh(count)
    assert made.tolist() == [FIXED] * count


def test_union_broadcasts():
    labels = Labels()
    made = labels.fresh(6).reshape(3, 2)
    labels.unite(made[:1], made)
    classes = labels.solve().classes[made]
    np.testing.assert_array_equal(classes, np.broadcast_to(made[0], (3, 2)))


def test_union_with_the_fixed_label_fixes_the_class_but_does_not_join_streams():
    labels = Labels()
    one, other, third = labels.fresh(3)
    labels.unite(np.array([one, other]), np.array([FIXED, FIXED]))
    solution = labels.solve()
    assert solution.removable(np.array([one, other, third])).tolist() == [False, False, True]
    assert solution.classes[one] != solution.classes[other]


def test_fixing_one_member_fixes_its_class_and_tells_why():
    labels = Labels()
    made = labels.fresh(4)
    labels.unite(made[:2], made[2:])
    labels.fix(made[2:3], "first")
    labels.fix(made[:1], "second")
    labels.fix(made[:1], "first")
    solution = labels.solve()
    assert solution.removable(made).tolist() == [False, True, False, True]
    assert solution.why_fixed(made[:1]) == ("first", "second")
    assert solution.why_fixed(made[1:2]) == ()


def test_fixing_the_fixed_label_says_nothing():
    labels = Labels()
    labels.fix(np.zeros(3, np.int64), "never seen")
    assert labels.solve().why_fixed(np.zeros(3, np.int64)) == ()
