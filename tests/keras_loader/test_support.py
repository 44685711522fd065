"""The page of what has been compared is what the tests compare."""

from tests.keras_support import PAGE, page


def test_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.keras_support"
