from loom_core.journals.states import RecentStates


def held(recent, *actors):
    return [actor for actor in actors if recent.get(actor, "b")]


def test_the_least_recently_used_states_are_forgotten_above_the_limit():
    recent = RecentStates(100)
    for actor in "abc":
        recent.put(actor, "b", {"of": actor}, 30)
    assert recent.get("a", "b") == ({"of": "a"},)

    recent.put("d", "b", None, 30)

    assert held(recent, *"abcd") == ["a", "c", "d"]
    assert recent.get("d", "b") == (None,)


def test_a_newer_state_of_an_actor_takes_the_place_of_its_last():
    recent = RecentStates(100)
    for _ in range(10):
        recent.put("a", "b", {}, 40)
    recent.put("other", "b", {}, 40)
    recent.put("a", "c", {}, 40)

    assert held(recent, "a", "other") == ["other"]
    assert recent.get("a", "c") == ({},)


def test_a_state_above_the_limit_is_not_kept_and_leaves_room_for_the_next():
    recent = RecentStates(100)
    recent.put("large", "b", {}, 101)
    recent.put("small", "b", {}, 100)

    assert held(recent, "large", "small") == ["small"]
