"""
What a user may choose: configurations, each a dict that is checked key by key, with one grammar for all that is wrong;
registries, tables of names that calls and entry points of installed packages fill; and in whose name errors speak.
"""
import contextlib
import difflib
import math
import os
import re
import sys
import textwrap
import warnings
from dataclasses import dataclass
from functools import wraps
from numbers import Integral, Real
from typing import Any, Callable, Collection, Dict, Generic, Iterator, List, Mapping, Optional, Tuple, TypeVar, cast

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError, GoldenStickError, first_line

__all__ = ["Either", "FRACTION", "Interval", "NOfM", "Names", "OfType", "OneOf", "Option", "Path", "PerPattern",
           "Registry", "Switch", "Whole", "check_config", "check_value", "in_own_name", "level_of_user", "with_options"]


@dataclass(frozen=True)
class Interval:
    """A real number in [low, high); in [low, high] if `closed`, in (low, high) if `open`."""

    low: float
    high: float
    closed: bool = False
    open: bool = False

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if isinstance(value, bool) or not isinstance(value, Real):
            return "type"
        number: Any = value  # not a float of it: whole numbers can be too large for one
        inside = self.low <= number < self.high or (self.closed and number == self.high)
        return None if inside and math.isfinite(number) and not (self.open and number == self.low) else "value"

    def __str__(self) -> str:
        return f"a number in {'(' if self.open else '['}{self.low:g}, {self.high:g}{']' if self.closed else ')'}"


FRACTION = Interval(0.0, 1.0, open=True)


@dataclass(frozen=True)
class PerPattern:
    """What `inner` accepts, or a dict of such values by pattern."""

    inner: Any

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None; what a dict holds is checked one by one by `check_value`."""
        if isinstance(value, Mapping):
            if not value:
                return "value"
            return None if all(isinstance(pattern, str) for pattern in value) else "type"
        return self.inner.check(value)

    def __str__(self) -> str:
        return str(self.inner)


@dataclass(frozen=True)
class Whole:
    """A whole number of at least `low`, and of at most `high` if that is given."""

    low: int
    high: Optional[int] = None

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if isinstance(value, bool) or not isinstance(value, Integral):
            return "type"
        return None if self.low <= int(value) and (self.high is None or int(value) <= self.high) else "value"

    def __str__(self) -> str:
        return f"a whole number of at least {self.low}" if self.high is None else \
            f"a whole number in [{self.low}, {self.high}]"


@dataclass(frozen=True)
class OneOf:
    """One of some strings; a table that grows may stand for them."""

    choices: Collection[str]

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if not isinstance(value, str):
            return "type"
        return None if value in self.choices else "value"

    def __str__(self) -> str:
        names = ", ".join(repr(choice) for choice in self.choices)
        return names if len(self.choices) == 1 else f"one of {names}"


@dataclass(frozen=True)
class Either:
    """What one of two constraints accepts."""

    first: Any
    second: Any

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        reasons = [self.first.check(value), self.second.check(value)]
        return next(reason for reason in (None, "value", "type") if reason in reasons)

    def __str__(self) -> str:
        return f"{self.first} or {self.second}"


@dataclass(frozen=True)
class Switch:
    """True or False."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        return None if isinstance(value, bool) else "type"

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class NOfM:
    """Whole numbers N < M as a str."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if not isinstance(value, str):
            return "type"
        match = re.fullmatch(r"(\d+):(\d+)", value)
        return None if match and 0 < int(match[1]) < int(match[2]) else "value"

    def __str__(self) -> str:
        return "N:M with whole numbers 0 < N < M, such as '2:4'"


@dataclass(frozen=True)
class Names:
    """Distinct names in order."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if not isinstance(value, (tuple, list)) or not all(isinstance(name, str) for name in value):
            return "type"
        return None if all(value) and len(set(value)) == len(value) else "value"

    def __str__(self) -> str:
        return "a tuple of distinct names"


@dataclass(frozen=True)
class OfType:
    """Any value of some classes, in words."""

    kinds: Tuple[type, ...]
    words: str

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        return None if isinstance(value, self.kinds) else "type"

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Path:
    """Where a file is, or is to be. Anything else is a value out of range, as an empty one is."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        return None if isinstance(value, str) and value.strip() else "value"

    def __str__(self) -> str:
        return "a path, not empty or blank"


@dataclass(frozen=True)
class Option:
    """A key of a configuration: its default, what it accepts, and what it is, for documentation and command line."""

    default: Any
    constraint: Any
    help: str = ""


Class = TypeVar("Class", bound=type)


def with_options(kind: Class) -> Class:
    """A decorator: where a class's docstring says ``{options}``, there stand those that its base class has not."""
    own: Mapping[str, Option] = vars(kind)["options"]
    inherited = getattr(super(kind, kind), "options", {})
    lines = [f"- **{key}** - {option.help[:1].upper()}{option.help[1:]}. "
             f"Default: {'none' if option.default is None else repr(option.default)}."
             for key, option in own.items() if inherited.get(key) is not option]
    wrapped = "\n".join(textwrap.fill(line, 120, initial_indent=" " * 12, subsequent_indent=" " * 14) for line in lines)
    kind.__doc__ = (kind.__doc__ or "").replace(" " * 12 + "{options}", wrapped)
    return kind


def check_value(owner: str, name: str, value: Any, constraint: Any) -> None:
    """Raise an ArgumentTypeError or an ArgumentError unless `constraint` accepts what the message calls `name`."""
    by_pattern = constraint.first if isinstance(constraint, Either) else constraint
    if isinstance(by_pattern, PerPattern) and isinstance(value, Mapping):
        for pattern, item in value.items():
            check_value(owner, f"{name}[{pattern!r}]", item, by_pattern.inner)
    reason = constraint.check(value)
    if reason == "type":
        raise ArgumentTypeError(
            f"For '{owner}', '{name}' must be {constraint}, but got {value!r} of type {type(value).__name__}."
        )
    if reason == "value":
        # "must be in [0, 1)" rather than "must be a number in [0, 1)": the type is right here.
        wanted = str(constraint).replace("a number in", "in")
        raise ArgumentError(f"For '{owner}', '{name}' must be {wanted}, but got {value!r}.")


def check_config(owner: str, config: Optional[Mapping[str, Any]], options: Mapping[str, Option]) -> Mapping[str, Any]:
    """The configuration of the algorithm `owner`, defaults filled in. Of an unknown key, the nearest one is named."""
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise ArgumentTypeError(f"For '{owner}', 'config' must be a dict, but got {type(config).__name__}.")
    for key in config:
        if key not in options:
            near = difflib.get_close_matches(str(key), options, n=1, cutoff=0.0)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ArgumentError(
                f"For '{owner}', 'config' has an unknown key {key!r}: {hint}Known keys: {', '.join(sorted(options))}."
            )
        check_value(owner, key, config[key], options[key].constraint)
    return {key: _plain(config.get(key, option.default)) for key, option in options.items()}


def _plain(value: Any) -> Any:
    """A Python number for one of numpy's, which JSON does not know."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, Real) and hasattr(value, "item") else value


Item = TypeVar("Item")


class Registry(Mapping, Generic[Item]):
    """
    Name -> item, such as an algorithm, a criterion or an export format.

    It begins with the items of golden_stick. `add` adds others, and so does an entry point of an installed package: its
    name is the item's, and what it names is the item. An entry point is found when a name is asked for that is not
    known yet, or all are, and is loaded when its own name is asked for: listing names imports nothing.

    Messages call an item a `kind`, such as ``'export format'``; `group` is that of the entry points. `accept` makes an
    item of what was added, or raises an error that says why it is none.
    """

    def __init__(self, kind: str, group: str, items: Mapping[str, Item], accept: Callable[[Any], Item]):
        self._kind, self._group, self._accept = kind, group, accept
        self._items: Dict[str, Item] = dict(items)
        self._found: Optional[Dict[str, Any]] = None

    def add(self, owner: str, name: str, item: Item) -> None:
        """Add an item under a new name; `owner` is the function that the user called."""
        if not isinstance(name, str):
            raise ArgumentTypeError(f"For '{owner}', 'name' must be a str, but got {type(name).__name__}.")
        if name in self:
            raise ArgumentError(f"For '{owner}', 'name' must be a new name, but got {name!r}, which is taken.")
        self._items[name] = self._accept(item)

    def loaded(self) -> List[Tuple[str, Item]]:
        """All items with their names; of those that cannot be loaded, a warning says why."""
        pairs = []
        for name in self:
            try:
                pairs.append((name, self[name]))
            except DependencyError as error:
                warnings.warn(str(error), stacklevel=2)
        return pairs

    def __getitem__(self, name: str) -> Item:
        if name not in self._items:
            entry = self._entry_points()[name]
            try:
                self._items[name] = self._accept(entry.load())
            except Exception as error:  # whatever a foreign module raises on import
                raise DependencyError(f"For 'golden_stick', the {self._kind} '{name}' must be what the entry point "
                                      f"'{entry.value}' of an installed package names, but it cannot be loaded: "
                                      f"{first_line(error)}") from error
        return self._items[name]

    def __delitem__(self, name: str) -> None:
        del self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items or name in self._entry_points()

    def __iter__(self) -> Iterator[str]:
        return iter({**self._items, **self._entry_points()})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _entry_points(self) -> Dict[str, Any]:
        """The entry points by name, looked for once; a name that is taken is refused."""
        if self._found is None:
            from importlib import metadata  # slow to import, and needed here only
            points: Any = metadata.entry_points()
            # A dict in Python 3.9.
            points = points.select(group=self._group) if hasattr(points, "select") else points.get(self._group, ())
            self._found = {}
            for point in points:
                if point.name not in self._items and self._found.get(point.name, point).value == point.value:
                    self._found[point.name] = point
                else:
                    warnings.warn(f"the {self._kind} '{point.name}' of the entry point '{point.value}' is left out: "
                                  f"its name is taken", stacklevel=3)
        return self._found


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
Function = TypeVar("Function", bound=Callable[..., Any])
# What users call, and what is also called for them.
_INNER = re.compile(r"^For '(slim|unslim|verify|trace|find_groups|plan_without)',")


def in_own_name(function: Function) -> Function:
    """A function or method whose errors, where a function of golden_stick that it calls raises them, name itself."""
    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GoldenStickError as error:
            owner = type(args[0]).__name__ if "." in function.__qualname__ else function.__name__
            error.args = (_INNER.sub(f"For '{owner}',", str(error)), *error.args[1:])
            raise
    return cast(Function, called)


def level_of_user() -> int:
    """The `stacklevel` by which a warning, given where this is called, names the line of the user's code."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(
            (_PACKAGE, contextlib.__file__)):  # of the decorators that are context managers
        frame, level = frame.f_back, level + 1
    return level
