"""A bank: accounts, and transfers between them that happen once and whole, or not at all."""

from typing import Literal

from pydantic import BaseModel, Field

from loom_core import Actor


class Move(BaseModel):
    """What an account is asked for; money is whole cents."""

    do: Literal["deposit", "withdraw", "close", "balance"]
    cents: int = Field(default=0, ge=0)


class Account(Actor):
    """Never overdrawn. Answers `{"done", "balance"}`; what is not done has changed nothing."""

    Message = Move

    def default_state(self):
        return {"balance": 0, "closed": False}

    def execute(self, move):
        balance, closed = self.state["balance"], self.state["closed"]
        match move.do:
            case "deposit" if not closed:
                self.update_state(lambda state: state.update(balance=balance + move.cents))
            case "withdraw" if balance >= move.cents:
                self.update_state(lambda state: state.update(balance=balance - move.cents))
            case "close" if balance == 0:
                self.update_state(lambda state: state.update(closed=True))
            case "balance":
                pass
            case _:
                return {"done": False, "balance": balance}
        return {"done": True, "balance": self.state["balance"]}


class Order(BaseModel):
    """A transfer; the accounts are named by their ids."""

    source: str
    target: str
    cents: int = Field(gt=0)


class Transfer(Actor):
    """One transfer, whose id is the actor's: a saga that withdraws, deposits, and gives back if it has to.

    Whoever asks again is told how it ended.
    """

    Message = Order

    def default_state(self):
        return {"status": "new"}

    def execute(self, order):
        if self.state["status"] == "new":
            status = yield from self.move(order)
            self.update_state(lambda state: state.update(status=status, **order.model_dump()))
        return self.state["status"]

    def move(self, order):
        taken = yield self.account(order.source, "withdraw", order.cents)
        if not taken["done"]:
            return "refused"
        given = yield self.account(order.target, "deposit", order.cents)
        if given["done"]:
            return "done"
        yield self.account(order.source, "deposit", order.cents)
        return "returned"

    def account(self, id_, do, cents):
        return self.call_actor("Account", id_, {"do": do, "cents": cents})
