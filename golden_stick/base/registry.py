"""Tables that others add to: by a call, or by an entry point of an installed package."""
import warnings
from typing import Any, Callable, Dict, Generic, Iterator, List, Mapping, Optional, Tuple, TypeVar

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError, first_line

__all__ = ["Registry"]

Item = TypeVar("Item")


class Registry(Mapping, Generic[Item]):
    """
    Name -> item, such as an algorithm, a criterion or an export format.

    It begins with the items of golden_stick. `add` adds others, and so does an entry point of an installed package: its
    name is the item's, and what it names is the item. An entry point is found when a name is asked for that is not
    known yet, or all are, and is loaded when its own name is asked for: listing names imports nothing.

    Args:
        kind (str): What an item is, for messages, such as ``'export format'``.
        group (str): The group of the entry points, such as ``'golden_stick.formats'``.
        items (Mapping[str, Item]): What it begins with.
        accept (Callable): Takes what an entry point names, and returns the item; an error says why it is none.
    """

    def __init__(self, kind: str, group: str, items: Mapping[str, Item], accept: Callable[[Any], Item]):
        self._kind, self._group, self._accept = kind, group, accept
        self._items: Dict[str, Item] = dict(items)
        self._found: Optional[Dict[str, Any]] = None

    def add(self, owner: str, name: str, item: Item) -> None:
        """
        Add an item under a new name; `owner` is the function that the user called.

        Raises:
            ArgumentTypeError: If `name` is not a str.
            ArgumentError: If it is taken.
        """
        if not isinstance(name, str):
            raise ArgumentTypeError(f"For '{owner}', 'name' must be a str, but got {type(name).__name__}.")
        if name in self:
            raise ArgumentError(f"For '{owner}', 'name' must be a new name, but got {name!r}, which is taken.")
        self._items[name] = item

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
