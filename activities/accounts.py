"""Accounts of customers: made, confirmed and deleted once, however often the call is repeated."""

import secrets
from typing import TYPE_CHECKING, Annotated, TypedDict

from pydantic import StringConstraints

from activities._ledger import ledger, note
from loom_core.activities import activity, current_call
from loom_core.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    import sqlite3

type Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
type Address = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$")
]


class Customer(TypedDict):
    name: str
    email: str


class Account(TypedDict):
    userId: str
    email: str
    name: str
    status: str
    """`new`, `confirmed` or `deleted`."""


class Verification(TypedDict, total=False):
    accepted: bool


@activity("read-sign-up")
def read_sign_up(*, name: Name, email: Address) -> Customer:
    """Bring what a person typed into the form that is compared: no stray blanks, the domain in lower case."""
    user, _, domain = email.rpartition("@")
    return {"name": " ".join(name.split()), "email": f"{user}@{domain.lower()}"}


@activity("create-user-account")
def create_user_account(*, name: str, email: str) -> Account:
    """Create an account. The same call again, after a crash or as a retry, gives the one it made before.

    Raises ConflictError if another call has made one for this address.
    """
    key = current_call.get().key
    with ledger() as connection:
        row = connection.execute("SELECT user_id FROM accounts WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return _account(connection, row[0])
        user_id = f"user-{secrets.token_hex(8)}"
        made = connection.execute(
            "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, 'new')", (user_id, key, email, name)
        )
        if made.rowcount == 0:
            raise ConflictError("there is an account for this address")
        note(connection, "account_created", {"userId": user_id})
        return _account(connection, user_id)


@activity("confirm-user-account")
def confirm_user_account(*, userId: str, verification: Verification | None = None) -> Account:  # noqa: N803
    """Confirm an account. Raises ConflictError for a `verification` that says `{"accepted": false}`."""
    if not (verification or {}).get("accepted", True):
        raise ConflictError("the owner of the address says that this is not theirs")
    with ledger() as connection:
        if _account(connection, userId)["status"] == "deleted":
            raise ConflictError(f"the account {userId} is deleted")
        connection.execute("UPDATE accounts SET status = 'confirmed' WHERE user_id = ?", (userId,))
        note(connection, "account_confirmed", {"userId": userId})
        return _account(connection, userId)


@activity("delete-user-account")
def delete_user_account(user_id: str) -> Account:
    """Delete an account: its address is free again, that there was one stays on record."""
    with ledger() as connection:
        _account(connection, user_id)
        connection.execute("UPDATE accounts SET status = 'deleted' WHERE user_id = ?", (user_id,))
        note(connection, "account_deleted", {"userId": user_id})
        return _account(connection, user_id)


def _account(connection: "sqlite3.Connection", user_id: str) -> Account:
    row = connection.execute(
        "SELECT email, name, status FROM accounts WHERE user_id = ?", (user_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"there is no account {user_id}")
    return {"userId": user_id, "email": row[0], "name": row[1], "status": row[2]}
