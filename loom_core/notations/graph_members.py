"""The nodes of a graph, and which of them are listed in others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks
from loom_core.wire.json import Json


@dataclass(frozen=True, slots=True)
class Member:
    """A node: `path` is where it stands, `draft` what is written there, `written` that in the right shape."""

    id: str
    path: str
    mode: definition.Metadata
    draft: Json
    written: definition.Node

    @property
    def opens(self) -> bool:
        """Whether its rounds are what is reached from it, if nothing else says what they are."""
        match self.mode:
            case definition.Loop(body=body, loop_back_to=back):
                return body is None and back is None
            case definition.Event(max_iterations=rounds):
                return rounds != 1
            case _:
                return False


def holders(checks: Checks, members: Mapping[str, Member]) -> dict[str, tuple[str, int]]:
    """By node, the node that lists it and in which of its lists: a branch or a body.

    What is listed twice, or in itself, is refused.
    """
    held: dict[str, tuple[str, int]] = {}
    for member in members.values():
        for path, number, listed in _lists(member):
            for place, name in enumerate(listed):
                if name not in members or (name == member.id and isinstance(member.mode, definition.Loop)):
                    continue
                holder = held.setdefault(name, (member.id, number))
                if holder != (member.id, number) or name in listed[:place]:
                    checks.refuse(f"{path}[{place}]", f"{name!r} is listed in {holder[0]!r} already")
    for name in list(held):
        way = [name]
        while (holder := held.get(way[-1])) and holder[0] not in way:
            way.append(holder[0])
        if holder:
            checks.refuse(members[name].path, f"is listed in itself: {' in '.join([*way, holder[0]])}")
            del held[name]
    return held


def _lists(member: Member) -> list[tuple[str, int, Sequence[str]]]:
    """The lists of nodes that run within a node, each with its path and number."""
    match member.mode:
        case definition.Parallel(parallel_branches=branches):
            path = f"{member.path}.metadata.parallel_branches"
            return [(f"{path}[{number}]", number, branch) for number, branch in enumerate(branches)]
        case definition.Loop(body=list() as body):
            return [(f"{member.path}.metadata.body", 0, body)]
        case _:
            return []
