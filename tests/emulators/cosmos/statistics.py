"""What has been asked for and what it cost."""


class Statistics:
    def __init__(self):
        self.reset()

    def reset(self):
        self._kinds = {}
        self._statuses = {}
        self._batched = {}

    def count(self, kind, status, charge, operations=()):
        """A request; of status 0: its connection was cut. `operations`: the kinds of what a batch applied."""
        requests, charged = self._kinds.get(kind, (0, 0.0))
        self._kinds[kind] = (requests + 1, charged + charge)
        self._statuses[status] = self._statuses.get(status, 0) + 1
        for operation in operations:
            self._batched[operation] = self._batched.get(operation, 0) + 1

    def requests(self, kind=None):
        return sum(requests for name, (requests, _) in self._kinds.items() if kind in (None, name))

    def charge(self, kind=None):
        """Request units, estimated."""
        return sum(charge for name, (_, charge) in self._kinds.items() if kind in (None, name))

    def summary(self):
        return {
            "requests": self.requests(),
            "charge": round(self.charge(), 2),
            "kinds": {
                kind: {"requests": requests, "charge": round(charge, 2)}
                for kind, (requests, charge) in sorted(self._kinds.items())
            },
            "batched": dict(sorted(self._batched.items())),
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
        }
