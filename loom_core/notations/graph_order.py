"""Directed graphs in general: what can be reached, what lies on circles, in which order."""

from collections.abc import Collection, Iterable, Mapping

type Edges = Mapping[str, Collection[str]]
"""Where one gets from each vertex; every vertex is a key."""


def reachable(edges: Edges, starts: Iterable[str]) -> set[str]:
    """Where one gets from the starts in any number of steps; these are part of it."""
    found: set[str] = set()
    pending = list(starts)
    while pending:
        vertex = pending.pop()
        if vertex not in found:
            found.add(vertex)
            pending.extend(edges[vertex])
    return found


def components(edges: Edges) -> list[list[str]]:
    """The strongly connected components: vertices that can be reached from each other."""
    back: dict[str, list[str]] = {vertex: [] for vertex in edges}
    for vertex, targets in edges.items():
        for target in targets:
            back[target].append(vertex)
    left = set(edges)
    found: list[list[str]] = []
    for start in reversed(_finished(edges)):
        here: set[str] = set()
        pending = [start] if start in left else []
        while pending:
            vertex = pending.pop()
            if vertex in left:
                left.discard(vertex)
                here.add(vertex)
                pending.extend(back[vertex])
        if here:
            found.append([vertex for vertex in edges if vertex in here])
    return found


def _finished(edges: Edges) -> list[str]:
    """The vertices in the order in which a walk in depth leaves them."""
    order: list[str] = []
    seen: set[str] = set()
    for start in edges:
        if start in seen:
            continue
        seen.add(start)
        way = [(start, iter(edges[start]))]
        while way:
            vertex, targets = way[-1]
            target = next((other for other in targets if other not in seen), None)
            if target is None:
                order.append(vertex)
                way.pop()
            else:
                seen.add(target)
                way.append((target, iter(edges[target])))
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
