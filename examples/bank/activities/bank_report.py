"""The report of a day at the bank."""

from typing import Any, TypedDict

from loom_core import activity


class Report(TypedDict):
    paidIn: int
    held: int
    markdown: str


@activity("bank-report")
def report(accounts: list[Any], balances: list[Any], transfers: list[Any], outcomes: list[str]) -> Report:
    """Say what is in each account, and how each transfer ended; the lists go together in pairs."""
    paid_in = sum(account["cents"] for account in accounts)
    held = sum(balance["balance"] for balance in balances)
    lines = ["# The bank's day", "", f"Paid in: {money(paid_in)}. In the accounts: {money(held)}.", ""]
    lines += ["| account | balance |", "|---|--:|"]
    pairs = zip(accounts, balances, strict=True)
    lines += [f"| {account['id']} | {money(found['balance'])} |" for account, found in pairs]
    lines += ["", "| transfer | from | to | amount | |", "|---|---|---|--:|---|"]
    for one, outcome in zip(transfers, outcomes, strict=True):
        parties = f"{one['source']} | {one['target']} | {money(one['cents'])}"
        lines.append(f"| {one['id']} | {parties} | {outcome} |")
    return {"paidIn": paid_in, "held": held, "markdown": "\n".join(lines) + "\n"}


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
