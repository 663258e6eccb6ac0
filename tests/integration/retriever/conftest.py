from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows the words of `taught`; nobody may change the folder."""
    from taught import all_texts
    from tiny_model import make_tiny_model  # torch: not for the tests beside that do without

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", all_texts())
