"""Graphs in few words."""

METADATA = {
    "condition",
    "condition_func",
    "true_path",
    "false_path",
    "loop_type",
    "max_iterations",
    "loop_back_to",
    "body",
    "items",
    "count",
    "as",
    "parallel_branches",
    "event_type",
    "interval",
    "watch_path",
    "event",
}


def node(name, function=None, mode=None, **more):
    """A node; what belongs into its metadata goes there."""
    metadata = {key: value for key, value in more.items() if key in METADATA}
    written = {"nodeId": name, **{key: value for key, value in more.items() if key not in METADATA}}
    if function is not None:
        written["function"] = function
    if mode is not None or metadata:
        written["metadata"] = {"execution_mode": mode, **metadata}
    return written


def links(*ways):
    """Connections, each written as "a b", or "a.port b.port" with the ports' names or numbers."""
    return [connection(*way.split()) for way in ways]


def connection(source, target):
    written = {}
    for side, end in (("source", source), ("target", target)):
        name, _, port = end.partition(".")
        written[f"{side}NodeId"] = name
        if port:
            written[f"{side}Port"] = int(port) if port.isdigit() else port
    return written


def graph(nodes, ways=(), **more):
    return {"name": "graph", "nodes": nodes, "connections": links(*ways), **more}
