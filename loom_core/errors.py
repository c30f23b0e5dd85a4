"""What went wrong, named by what the catcher should do about it.

LoomError
├── InvalidError        change the request; carries every problem with its JSON path   (422, never retried)
├── NotFoundError       ask for something that exists                                   (404, never retried)
├── ConflictError       read the current state again, then decide                      (409, never retried)
├── IntegrityError      the bytes are not what was pinned; publish them again          (422, never retried)
├── SandboxError        mend the module or raise its limits                             (never retried)
├── CancelledError      nothing: somebody asked for it                                  (never retried)
├── TimedOutError       allow more time, or try again                                   (504, retried)
├── UnavailableError    try again later                                                 (503, retried)
└── StepFailedError     a step of a program failed for good; carries the step's own error
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class LoomError(Exception):
    """The root of everything Loom raises on purpose."""

    retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document: `path` is a JSONPath such as `$.stages[0].scatter.input`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidError(LoomError):
    """A document breaks its rules; `problems` lists all of them at once."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        listed = (Problem("$", problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(map(str, listed)))
        self.problems = listed


class NotFoundError(LoomError):
    pass


class ConflictError(LoomError):
    pass


class IntegrityError(LoomError):
    pass


class SandboxError(LoomError):
    pass


class CancelledError(LoomError):
    pass


class TimedOutError(LoomError):
    retryable = True


class UnavailableError(LoomError):
    retryable = True


class StepFailedError(LoomError):
    """A step failed after its last attempt.

    `step` names the step (an activity or a program), `error_type` is the class name of what it raised
    (`"SandboxError"`, `"ValueError"`), and `retryable` says whether another attempt could have helped.
    """

    def __init__(self, step: str, error_type: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(f"{step}: {error_type}: {message}")
        self.step = step
        self.error_type = error_type
        self.message = message
        self.can_retry = retryable

    def of(self, step: str) -> "StepFailedError":
        """The same, as the failure of this step."""
        return StepFailedError(step, self.error_type, self.message, retryable=self.can_retry)


def described(error: Exception, limit: int | None = None) -> dict[str, Any]:
    """An error as `{"type", "message"}`, of each at most so much; of a failed step, the step's own error."""
    is_step = isinstance(error, StepFailedError)
    kind, message = (error.error_type, error.message) if is_step else (type(error).__name__, str(error))
    return {"type": kind[:limit], "message": message[:limit]}


def failure(error: Exception) -> dict[str, Any]:
    """An error as described, in 4,000 characters, and whether another attempt may help: `retryable`."""
    if isinstance(error, StepFailedError):
        retryable = error.can_retry
    else:
        retryable = not isinstance(error, LoomError) or error.retryable
    return {**described(error), "message": str(error)[:4_000], "retryable": retryable}


def kept(error: LoomError) -> dict[str, Any]:
    """All that `restored` needs, as JSON."""
    if isinstance(error, StepFailedError):
        return {"step": error.step, **described(error), "retryable": error.can_retry}
    problems = error.problems if isinstance(error, InvalidError) else ()
    return {**described(error), "problems": [[problem.path, problem.message] for problem in problems]}


def restored(failure: Any) -> LoomError:
    """The error that was `kept`."""
    if "step" in failure:
        step, kind, message = failure["step"], failure["type"], failure["message"]
        return StepFailedError(step, kind, message, retryable=failure["retryable"])
    if failure["problems"]:
        return InvalidError([Problem(path, message) for path, message in failure["problems"]])
    return globals()[failure["type"]](failure["message"])
