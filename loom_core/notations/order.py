"""Directed graphs in general: what can be reached, what lies on circles, in which order."""

from collections.abc import Collection, Iterable, Mapping

type Edges = Mapping[str, Collection[str]]
"""Where one gets from each vertex; every vertex is a key. No way is longer than there are stages."""


def reachable(edges: Edges, starts: Iterable[str], but: Collection[str] = ()) -> set[str]:
    """Where one gets from the starts in any number of steps, and these, `but` never over some."""
    found = set(but)
    pending = list(starts)
    while pending:
        vertex = pending.pop()
        if vertex not in found:
            found.add(vertex)
            pending.extend(edges[vertex])
    return found.difference(but)


def circles(edges: Edges) -> list[list[str]]:
    """Those of the strongly connected components that have an edge, each in the order of its vertices."""
    back: dict[str, list[str]] = {vertex: [] for vertex in edges}
    for source, targets in edges.items():
        for target in targets:
            back[target].append(source)
    found: list[list[str]] = []
    done: set[str] = set()
    for vertex in reversed(_left(edges)):
        here = reachable(back, [vertex], done)
        done |= here
        if len(here) > 1 or (here and vertex in edges[vertex]):
            found.append([other for other in edges if other in here])
    return found


def _left(edges: Edges) -> list[str]:
    """The vertices in the order in which a walk in depth leaves them."""
    order: list[str] = []
    seen: set[str] = set()

    def walk(vertices: Collection[str]) -> None:
        for vertex in vertices:
            if vertex not in seen:
                seen.add(vertex)
                walk(edges[vertex])
                order.append(vertex)

    walk(edges)
    return order


def circle(edges: Edges, members: Collection[str]) -> list[str]:
    """A way from a member back to itself; every member must lie on a circle of members."""
    way = [next(iter(members))]
    while True:
        target = next(other for other in edges[way[-1]] if other in members)
        if target in way:
            return [*way[way.index(target) :], target]
        way.append(target)


def ordered(edges: Edges, place: Mapping[str, int]) -> list[str]:
    """Every vertex after those that lead to it, as late as it can be and by `place`; there are no circles."""
    left = {vertex: set(targets) for vertex, targets in edges.items()}
    found: list[str] = []
    while left:
        last = max((vertex for vertex, targets in left.items() if not targets), key=place.__getitem__)
        found.append(last)
        del left[last]
        for targets in left.values():
            targets.discard(last)
    return found[::-1]
