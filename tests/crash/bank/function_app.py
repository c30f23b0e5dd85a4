"""Loom's own app over the actors of the crash rounds: with a reader of the queue that they send to, and with
faults and outages at its ports if `LOOM_CRASH_FAULTS` gives a seed."""

import os
import random
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import azure.functions as func

import loom_core.app as composition
from tests.faults import Faults, Kind

HERE = Path(__file__).parent
TALLY = Path(os.environ["LOOM_DATA"]) / "tally.txt"
RATES: dict[Kind, float] = {"before": 0.02, "lost": 0.02, "conflict": 0.01, "duplicate": 0.02}


def outages(faults: Faults, chance: random.Random) -> None:
    """Nothing can be reached, for a moment, time and again."""
    while True:
        time.sleep(chance.uniform(0.3, 3))
        faults.rates["before"] = 1.0
        time.sleep(chance.uniform(0.05, 0.5))
        faults.rates["before"] = RATES["before"]


if seed := os.environ.get("LOOM_CRASH_FAULTS"):
    faults = Faults(int(seed), RATES)
    threading.Thread(target=outages, args=(faults, random.Random(seed)), daemon=True).start()
    for name in ("_state", "_blobs", "_queue"):
        build = getattr(composition, name)
        setattr(composition, name, lambda settings, build=build: faults.wrap(build(settings)))

whole = composition.compose
composition.compose = lambda _, environment: whole(HERE, environment)
spec = spec_from_file_location("loom_app", HERE.parents[2] / "function_app.py")
assert spec is not None
assert spec.loader is not None
loom = module_from_spec(spec)
spec.loader.exec_module(loom)
app = loom.app


@app.service_bus_queue_trigger(
    arg_name="message", queue_name="tally", connection="ServiceBus", is_sessions_enabled=True
)
def tally(message: func.ServiceBusMessage) -> None:
    """Note every delivery: the number says whether it is the same message again, or a second one."""
    line = f"{message.message_id} {message.sequence_number} {message.get_body().decode()}\n"
    with TALLY.open("a", encoding="utf-8") as notes:
        notes.write(line)
