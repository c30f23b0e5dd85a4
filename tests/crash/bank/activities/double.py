from loom_core import activity


@activity("double")
def double(n: int) -> int:
    return n * 2
