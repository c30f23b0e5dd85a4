import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_local.host.routes import compile_route


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("items", "items", {}),
        ("items", "ITEMS/", {}),
        ("items", "items/1", None),
        ("items/{id}", "items/a b", {"id": "a b"}),
        ("items/{id}", "items/", None),
        ("items/{id:int}", "items/-7", {"id": "-7"}),
        ("items/{id:int}", "items/seven", None),
        ("items/{id:int:min(5)}", "items/4", None),
        ("items/{id:int:min(5)}", "items/5", {"id": "5"}),
        ("items/{id:range(1,3)}", "items/4", None),
        ("page/{n:int?}", "page", {}),
        ("page/{n:int?}", "page/2", {"n": "2"}),
        ("files/{name}.{ext}", "files/a.b.txt", {"name": "a", "ext": "b.txt"}),
        ("{*path}", "", {"path": ""}),
        ("{*path}", "a/b", {"path": "a/b"}),
        ("api/{*path}", "api", {}),
        ("api/{*path}", "apis", None),
        ("{id:guid}", "0f8fad5b-d9cb-469f-a165-70867728950e", {"id": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
        ("{flag:bool}", "True", {"flag": "True"}),
        ("{code:regex(^[a-c]+$)}", "abd", None),
        ("{code:length(2,3)}", "abc", {"code": "abc"}),
        ("{code:maxlength(2)}", "abc", None),
        ("{when:datetime}", "2026-11-21T10:00:00", {"when": "2026-11-21T10:00:00"}),
        ("{n:decimal}", "1.5", {"n": "1.5"}),
        ("{w:alpha}", "a1", None),
        ("a.b", "aXb", None),
    ],
)
def test_a_template_matches_what_azure_matches(template, path, expected):
    assert compile_route(template).match(path) == expected


@pytest.mark.parametrize("template", ["{", "a/{id", "{id:what}", "{id:min(x)}", "{a}/{a}", "{id:regex(()}"])
def test_a_template_that_means_nothing_is_refused(template):
    with pytest.raises(InvalidError):
        compile_route(template)


def test_more_specific_templates_come_first():
    templates = ["{*rest}", "a/{id}", "a/b", "a/{id:int}", "a", "{x}/b"]
    ordered = sorted(templates, key=lambda template: compile_route(template).rank)
    assert ordered == ["a", "a/b", "a/{id:int}", "a/{id}", "{x}/b", "{*rest}"]


@given(st.text(max_size=200))
def test_no_path_breaks_a_route(path):
    for template in ("a/{id:int}/{name?}", "{*rest}", "f/{a}-{b}.{c}"):
        compile_route(template).match(path)


@given(st.text(max_size=60))
def test_a_template_compiles_or_is_refused(template):
    try:
        compile_route(template)
    except InvalidError:
        return
