"""Names of classes that are most likely meant as one."""

from collections.abc import Iterable

from van_dense.data.messages import Fault


def alike_classes(classes: Iterable[tuple[int, str]]) -> list[Fault]:
    """A word on each class whose name an earlier one has, but for case or spaces.

    Args:
        classes: Id and name of each class.
    """
    first: dict[str, tuple[int, str]] = {}
    found = []
    for key, name in classes:
        twin = first.setdefault("".join(name.casefold().split()), (key, name))
        if twin == (key, name):
            continue
        if twin[1] == name:
            what = f"the classes {twin[0]} and {key} are both called {name!r}, and are two here"
        else:
            what = f"the classes {twin[1]!r} ({twin[0]}) and {name!r} ({key}) are alike but for "
            what += "case or spaces, and are two here"
        found.append(Fault(what, "write one class, or two names that differ"))
    return found
