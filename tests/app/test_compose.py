import json
import tomllib
from pathlib import Path

import pytest

from loom_core.app import compose
from loom_core.errors import InvalidError, UnavailableError
from loom_core.ports.queue import QueueMessage
from loom_core.ports.state import Put
from loom_core.settings import Connection, Settings, connection

ROOT = Path(__file__).parents[2]
ONE = {"name": "one", "stages": [{"name": "Only", "activity": "noop"}]}


@pytest.fixture
def folder(tmp_path):
    for name in ("activities", "wasm", "pipelines"):
        (tmp_path / name).mkdir()
    (tmp_path / "activities" / "noop.py").write_text(
        "from loom_core import activity\n\n@activity('noop')\ndef noop(value):\n    return value\n"
    )
    return tmp_path


def write(folder, name, document):
    (folder / "pipelines" / name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_an_app_is_what_its_folders_hold(folder):
    write(folder, "one.json", ONE)

    app = compose(folder, {})

    assert app.pipelines.shipped["one"].definition == ONE
    assert app.activities.names == {"noop"}
    assert app.settings.data == folder / ".loom"


def test_every_wrong_pipeline_is_named_with_its_file(folder):
    write(folder, "broken.json", "{")
    write(folder, "empty.json", {})
    write(folder, "missing.json", {"name": "m", "stages": [{"name": "A", "activity": "nope"}]})
    write(folder, "one.json", ONE)
    write(folder, "two.json", ONE)

    with pytest.raises(InvalidError) as error:
        compose(folder, {})

    told = {Path(problem.path).name for problem in error.value.problems}
    assert told == {"broken.json", "empty.json", "missing.json", "two.json"}
    assert "there is no activity 'nope'" in str(error.value)
    assert "one.json also defines a pipeline 'one'" in str(error.value)


def test_a_missing_activity_is_told_at_its_place_beside_everything_else_that_is_wrong(folder):
    stages = [{"name": "A", "activity": "nop"}, {"name": "B", "activity": "noop", "after": ["Z"]}]
    write(folder, "wrong.json", {"name": "wrong", "stages": stages})

    with pytest.raises(InvalidError) as error:
        compose(folder, {})

    assert {problem.message for problem in error.value.problems} == {
        "$.stages[0].activity: there is no activity 'nop'; did you mean 'noop'?",
        "$.stages[1].after[0]: there is no stage 'Z'",
    }


def test_an_activity_that_fails_to_import_stops_the_app_and_is_named(folder):
    (folder / "activities" / "bad.py").write_text("import nothing_of_this_name\n")

    with pytest.raises(InvalidError, match=r"bad.py: ModuleNotFoundError"):
        compose(folder, {})


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"LOOM_BLOB": "files"}, "LOOM_BLOB: no such setting; did you mean LOOM_BLOBS?"),
        (
            {"LOOM_XYZ": "1"},
            (
                "LOOM_XYZ: no such setting; there are LOOM_BLOBS, LOOM_BLOB_CONTAINER, "
                "LOOM_COSMOS_CONTAINER, LOOM_COSMOS_DATABASE, LOOM_DATA, LOOM_QUEUE, LOOM_STORE, LOOM_TENANT"
            ),
        ),
        ({"LOOM_BLOBS": "floppy"}, "LOOM_BLOBS: 'floppy' is not one of files, azure, memory"),
        ({"LOOM_STORE": "paper"}, "LOOM_STORE: 'paper' is not one of sqlite, cosmos, memory"),
        ({"LOOM_QUEUE": "tube"}, "LOOM_QUEUE: 'tube' is not one of sqlite, servicebus, memory"),
        ({"LOOM_TENANT": "a b"}, "LOOM_TENANT: 'a b' is not a name that the service takes"),
        ({"LOOM_BLOB_CONTAINER": "Loom"}, "LOOM_BLOB_CONTAINER: 'Loom' is not a name that the service takes"),
        (
            {"LOOM_STORE": "cosmos"},
            (
                "LOOM_STORE: cosmos: set Cosmos__accountEndpoint, "
                "or Cosmos to the connection string of a local emulator"
            ),
        ),
    ],
)
def test_settings_that_nobody_reads_are_refused(environment, told):
    with pytest.raises(InvalidError) as error:
        Settings.read(environment, Path())

    assert str(error.value) == told


def test_settings_of_the_tools_and_empty_ones_are_none_of_the_apps_business():
    settings = Settings.read({"LOOM_API_KEY": "x", "LOOM_TEST_X": "y", "LOOM_BLOBS": ""}, ROOT)

    assert settings == Settings(ROOT / ".loom", "files", "sqlite", "sqlite")


KEY = "c2VjcmV0c2VjcmV0"
AZURE = {
    "LOOM_STORE": "cosmos",
    "LOOM_BLOBS": "azure",
    "LOOM_QUEUE": "servicebus",
    "Cosmos": f"AccountEndpoint=https://a.documents.azure.com:443/;AccountKey={KEY}",
    "AzureWebJobsStorage": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY}",
    "ServiceBus": f"Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey={KEY}",
}


def test_a_connection_string_to_azure_is_refused_with_the_reason_and_without_its_key():
    with pytest.raises(InvalidError) as error:
        Settings.read(AZURE, ROOT)

    assert KEY not in str(error.value)
    assert [problem.path for problem in error.value.problems] == ["LOOM_STORE", "LOOM_BLOBS", "LOOM_QUEUE"]
    for problem, instead in zip(
        error.value.problems,
        [
            "Cosmos__accountEndpoint",
            "AzureWebJobsStorage__blobServiceUri",
            "ServiceBus__fullyQualifiedNamespace",
        ],
        strict=True,
    ):
        assert "only a local emulator may have" in problem.message
        assert instead in problem.message


def test_endpoints_are_for_the_identity_and_go_before_connection_strings():
    endpoints = {
        "Cosmos__accountEndpoint": "https://a.documents.azure.com:443/",
        "AzureWebJobsStorage__blobServiceUri": "https://a.blob.core.windows.net/",
        "ServiceBus__fullyQualifiedNamespace": "a.servicebus.windows.net",
    }

    settings = Settings.read(AZURE | endpoints, ROOT)

    assert settings.cosmos == Connection(endpoint="https://a.documents.azure.com:443/")
    assert settings.storage == Connection(endpoint="https://a.blob.core.windows.net/")
    assert settings.servicebus == Connection(endpoint="a.servicebus.windows.net")


def test_the_name_of_a_storage_account_is_as_good_as_its_endpoint():
    settings = Settings.read({"LOOM_BLOBS": "azure", "AzureWebJobsStorage__accountName": "loomdata"}, ROOT)

    assert settings.storage == Connection(endpoint="https://loomdata.blob.core.windows.net/")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Cosmos", "AccountEndpoint=http://127.0.0.1:8081/;AccountKey=x=="),
        ("Cosmos", "AccountEndpoint=https://localhost:8081;AccountKey=x"),
        ("Cosmos", "AccountEndpoint=http://cosmos:8081;AccountKey=x"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
        ("Blobs", "AccountName=d;AccountKey=x;BlobEndpoint=http://127.0.0.1:10000/d;"),
        ("ServiceBus", "Endpoint=sb://[::1]:5672;SharedAccessKeyName=k;SharedAccessKey=x"),
    ],
)
def test_connection_strings_of_local_emulators_are_taken(name, text):
    local = connection({name: text}, ["Cosmos", "Blobs", "AzureWebJobsStorage", "ServiceBus"], "endpoint")

    assert local == Connection(connection_string=text)
    assert "x" not in repr(local)


@pytest.mark.parametrize(
    "text",
    [
        "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://elsewhere.example",
        "BlobEndpoint=http://127.0.0.1/;FileEndpoint=https://a.file.core.windows.net",
        "Endpoint=sb://127.0.0.1.example.com;SharedAccessKey=x;UseDevelopmentEmulator=true",
        "AccountEndpoint=https://localhost@a.documents.azure.com/;AccountKey=x",
        "AccountKey=x",
        "AccountName=a;AccountKey=x;QueueEndpoint=http://127.0.0.1:10001/a",
        "AccountName=a;AccountKey=x;Endpoint=http://127.0.0.1:10000/a",
        "AccountName=a;AccountKey=x; BlobEndpoint=http://127.0.0.1:10000/a",
        "AccountName=a;AccountKey=x;UseDevelopmentStorage=True",
        "BlobEndpoint=a.blob.core.windows.net;TableEndpoint=http://127.0.0.1/a",
        "Endpoint=//a.servicebus.windows.net;SharedAccessKey=x;Note=http://localhost",
        "AccountEndpoint=http://134744072/;AccountKey=x",
        "AccountEndpoint=http://[nonsense/;AccountKey=x",
        "nonsense",
    ],
)
def test_what_only_looks_local_is_refused(text):
    with pytest.raises(InvalidError, match="only a local emulator"):
        connection({"Cosmos": text}, ["Cosmos"], "accountEndpoint")


@pytest.mark.parametrize(
    "address",
    [
        f"https://a.blob.core.windows.net/?sv=2025&sig={KEY}",
        f"https://a:{KEY}@a.documents.azure.com/",
        f"Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey={KEY}",
    ],
)
def test_an_endpoint_with_a_key_in_it_is_refused_without_telling_it(address):
    with pytest.raises(InvalidError, match="no key") as error:
        connection({"Blobs__blobServiceUri": address}, ["Blobs"], "blobServiceUri")

    assert KEY not in str(error.value)


async def test_documents_are_kept_in_a_file_that_is_made_when_it_is_needed(folder):
    store = compose(folder, {}).state
    assert not (folder / ".loom" / "state.db").exists()

    await store.write("p", [Put("x", {})])

    assert (folder / ".loom" / "state.db").exists()
    await store.aclose()


async def test_documents_can_live_in_memory(folder):
    store = compose(folder, {"LOOM_BLOBS": "memory", "LOOM_STORE": "memory"}).state

    await store.write("p", [Put("x", {})])

    assert not (folder / ".loom").exists()


async def test_locks_live_beside_the_documents(folder):
    locks = compose(folder, {}).locks
    assert not (folder / ".loom" / "locks.db").exists()

    assert await locks.acquire("x", 15) is not None

    assert (folder / ".loom" / "locks.db").exists()
    await locks.aclose()


async def test_without_a_local_host_its_queue_says_what_to_do(folder):
    message = QueueMessage(body=1, message_id="m")

    with pytest.raises(UnavailableError, match="`loom dev`.*LOOM_QUEUE"):
        await compose(folder, {}).queue.send("work", [message])


async def test_messages_and_locks_can_live_in_memory(folder):
    in_memory = compose(folder, {"LOOM_BLOBS": "memory", "LOOM_QUEUE": "memory", "LOOM_STORE": "memory"})

    await in_memory.queue.send("work", [QueueMessage(body=1, message_id="m")])
    assert await in_memory.locks.acquire("x", 15) is not None
    assert not (folder / ".loom").exists()


def test_blobs_can_live_in_memory(folder):
    compose(folder, {"LOOM_BLOBS": "memory"})

    assert not (folder / ".loom").exists()


def requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_azure_installs_what_the_project_depends_on_and_what_was_asked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.split("=")[0].split(">")[0] for line in requirements()}

    assert set(project["dependencies"]) <= requirements()
    of_azure = {f"azure-{name}" for name in ("functions", "cosmos", "storage-blob", "servicebus", "identity")}
    assert of_azure | {"azure-functions-durable", "pydantic", "wasmtime", "opencensus-ext-azure"} <= names
    assert "azure-functions-runtime" not in names


def test_the_host_file_keeps_what_azure_needs():
    host = json.loads((ROOT / "host.json").read_text())
    durable = host["extensions"]["durableTask"]

    assert host["extensionBundle"]["version"] == "[4.36.0, 5.0.0)"
    assert durable["hubName"] == "%TASKHUB_NAME%"
    assert durable["storageProvider"]["type"] == "AzureStorage"
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert sample["TASKHUB_NAME"].isalnum()


def test_public_names_load_when_they_are_used():
    import loom_core
    from loom_core import activity

    assert callable(activity)
    with pytest.raises(AttributeError):
        loom_core.nothing  # noqa: B018 - the access is the test


def calling(name, *others):
    return {"name": name, "stages": [{"name": f"S{i}", "pipeline": one} for i, one in enumerate(others)]}


def test_shipped_pipelines_may_call_each_other_in_any_order(folder):
    write(folder, "a.json", calling("a", "z"))
    write(folder, "z.json", calling("z", "one"))
    write(folder, "one.json", ONE)

    assert set(compose(folder, {}).pipelines.shipped) == {"a", "one", "z"}


def test_shipped_pipelines_that_cannot_call_what_they_name_stop_the_app(folder):
    write(folder, "a.json", calling("a", "b"))
    write(folder, "b.json", calling("b", "a"))
    write(folder, "c.json", calling("c", "nothing"))

    with pytest.raises(InvalidError) as error:
        compose(folder, {})

    told = {Path(problem.path).name: problem.message for problem in error.value.problems}
    assert told == {
        "a.json": "$.stages[0].pipeline: pipelines that call each other: a -> b -> a",
        "b.json": "$.stages[0].pipeline: pipelines that call each other: b -> a -> b",
        "c.json": "$.stages[0].pipeline: there is no pipeline 'nothing'",
    }


def test_a_key_that_is_given_twice_stops_the_app(folder):
    write(folder, "twice.json", '{"name": "a", "name": "b"}')

    with pytest.raises(InvalidError, match=r"twice.json: \$.name: is given twice"):
        compose(folder, {})
