"""What flows along the connections of a graph, from port to port, as expressions."""

from collections.abc import Sequence

from loom_core.expressions.parse import member as key_path
from loom_core.notations import graph as definition
from loom_core.notations.checks import Checks, at
from loom_core.notations.graph_read import Link, Member, Reader
from loom_core.notations.graph_regions import Regions
from loom_core.wire.json import Json

type Declared = int | Sequence[str] | None


class Ports:
    """The connections of a graph by the ports they lead to; what no port fits is refused."""

    def __init__(self, checks: Checks, graph: Reader, regions: Regions) -> None:
        self.checks, self.members, self.regions = checks, graph.members, regions
        self.many = {
            link.source for link in graph.links if isinstance(link.source_port, int) and link.source_port
        }
        self.into: dict[str, dict[str, list[Link]]] = {name: {} for name in self.members}
        for link in graph.links:
            outputs = self.members[link.source].written.outputs
            inputs = self.members[link.target].written.inputs
            if _label(outputs, link.source_port) is None:
                checks.refuse(f"{link.path}.sourcePort", _mismatch(link.source, "output", outputs))
            label = _label(inputs, link.target_port)
            if label is None:
                checks.refuse(f"{link.path}.targetPort", _mismatch(link.target, "input", inputs))
            else:
                self.into[link.target].setdefault(label, []).append(link)

    def taken(self, name: str) -> Json:
        """The document that gives a node its input, from connections and what is written; None if neither."""
        member, links = self.members[name], self.into[name]
        declared, constants, path = member.written.inputs, at(member.draft, "input"), f"{member.path}.input"
        labels = _labels(declared) or list(links)
        by_number = all(label.isdigit() for label in labels)
        if by_number and declared is None and constants is not None:
            return constants
        filled = {label: self._port(name, label, found) for label, found in links.items()}
        if not by_number and any(label.isdigit() for label in labels):
            self.checks.refuse(member.path, "its input ports are called by name here and by number there")
            return None
        count = 1 + max(map(int, labels), default=0) if by_number else 0
        if count == 1:
            if filled and constants is not None:
                self.checks.refuse(path, "is the value of a port that is connected already")
            if declared == 1 and not filled and constants is None:
                self._refuse_missing(member, labels, set())
            return filled.get("0", constants)
        return self._together(member, list(map(str, range(count))) or labels, filled, constants, path)

    def _together(
        self, member: Member, labels: list[str], filled: dict[str, str], constants: Json, path: str
    ) -> Json:
        """The values of several ports: a list of those that have numbers, an object of those with names."""
        numbers = labels[0].isdigit()
        if constants is not None and not isinstance(constants, dict):
            self.checks.refuse(path, "must be an object with values for the ports that are not connected")
            return None
        written: dict[str, Json] = {**constants} if constants else {}
        for label in written:
            if label in filled:
                self.checks.refuse(key_path(path, label), "is the value of a port that is connected already")
            elif label not in labels and (numbers or member.written.inputs is not None):
                self.checks.refuse(key_path(path, label), f"is none of the input ports: {', '.join(labels)}")
        if member.written.inputs is not None:
            self._refuse_missing(member, labels, {*filled, *written})
        if numbers:
            return [filled.get(label, written.get(label)) for label in labels]
        return {**written, **filled}

    def _refuse_missing(self, member: Member, labels: Sequence[str], given: set[str]) -> None:
        for label in labels:
            if label not in given:
                message = f"input port {label!r} is neither connected nor given in `input`"
                self.checks.refuse(f"{member.path}.inputs", message)

    def _port(self, name: str, label: str, links: list[Link]) -> str:
        """The expression of what comes in at a port: from before a loop, then from the last round."""
        back = [link for link in links if link.edge in self.regions.back]
        ahead = [link for link in links if link.edge not in self.regions.back]
        for found in (back, ahead):
            for link in found[1:]:
                message = f"port {label!r} of {name!r} is connected already, by {found[0].path}"
                self.checks.refuse(f"{link.path}.targetPort", message)
        if not (back and ahead):
            return self.source((back or ahead)[0])
        loop, inner = self.regions.back[back[0].edge], self.regions.loop(name)
        if loop != inner:
            message = f"goes back in the loop of {loop!r} into that of {inner!r}; put a node before that one"
            self.checks.refuse(back[0].path, message)
        return f"$.loop.index === 0 ? ({self.source(ahead[0])}) : ({self.source(back[0])})"

    def source(self, link: Link) -> str:
        """The expression of what a connection carries."""
        member, port = self.members[link.source], link.source_port
        within = self.regions.within(link.target, link.source)
        if isinstance(member.mode, definition.Parallel) and within:
            return f"$.stages['{member.id}-in']"
        if isinstance(member.mode, definition.Loop) and member.mode.loop_type == "for" and not within:
            return f"$.stages['{member.id}-loop']"
        text, outputs = f"$.stages['{member.id}']", member.written.outputs
        if isinstance(port, str) or isinstance(outputs, list):
            return f"{text}['{_label(outputs, port)}']"
        if (outputs is None and member.id in self.many) or (outputs or 0) > 1:
            return f"{text}[{port}]" if port else f"{text}[0:1] === [] ? {text} : {text}[0]"
        return text


def _labels(declared: Declared) -> list[str] | None:
    if declared is None:
        return None
    return [str(number) for number in range(declared)] if isinstance(declared, int) else list(declared)


def _label(declared: Declared, port: definition.Port) -> str | None:
    """What a port is called; None if it is not among those that are declared."""
    labels = _labels(declared)
    if labels is None:
        return str(port)
    if isinstance(port, int):
        return labels[port] if port < len(labels) else None
    return port if not isinstance(declared, int) and port in labels else None


def _mismatch(name: str, side: str, declared: Declared) -> str:
    labels = _labels(declared)
    return f"{name!r} has the {side} ports {', '.join(labels)}" if labels else f"{name!r} has no {side} ports"
