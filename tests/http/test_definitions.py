"""Diagrams of the pipelines there are, and the schemas they are written by."""


async def test_a_pipeline_is_drawn_in_any_of_its_versions(api):
    stages = [{"name": "Better", "activity": "noop"}]
    shipped = (await api.get("/pipelines/noop")).json()["version"]
    await api.put("/pipelines/noop", json={"name": "noop", "stages": stages})

    drawn = await api.get("/pipelines/noop/diagram")
    before = await api.get(f"/pipelines/noop/diagram?version={shipped}")
    none = await api.get("/pipelines/noop/diagram?version=ffffffff")

    assert drawn.headers["content-type"].startswith("text/vnd.mermaid")
    assert drawn.text.startswith("flowchart ")
    assert "Better" in drawn.text
    assert "Only" in before.text
    assert none.status_code == 404


async def test_every_notation_has_a_schema_that_is_asked_for_once(api):
    listed = await api.get("/schemas")

    found = {one["name"]: one["href"] for one in listed.json()["schemas"]}
    assert {"stages", "steps", "graph"} <= found.keys()
    for href in found.values():
        schema = await api.get(href.removeprefix("/api"))
        again = await api.get(href.removeprefix("/api"), headers={"If-None-Match": schema.headers["etag"]})
        assert schema.json()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert schema.headers["content-type"] == "application/schema+json"
        assert "max-age" in schema.headers["cache-control"]
        assert (again.status_code, again.content) == (304, b"")


async def test_a_schema_that_is_not_there_is_told_with_those_that_are(api):
    answer = await api.get("/schemas/nothing.json")

    assert answer.status_code == 404
    assert "stages" in answer.json()["detail"]
