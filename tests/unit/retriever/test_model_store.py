import hashlib
from pathlib import Path

import pytest

from retriever.errors import ModelCorrupt, ModelNotFound
from retriever.model_store import check_weights, commit_directory, hash_directory, resolve_model


def make_folder(path: Path, **files: str) -> Path:
    for name, content in files.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return path


def test_equal_folders_have_equal_hashes_wherever_they_lie(tmp_path: Path) -> None:
    """A model's name is its content: a hash that depends on the place makes two models of one."""
    one = make_folder(tmp_path / "one", a="1", sub__b="2")
    other = make_folder(tmp_path / "elsewhere" / "other", sub__b="2", a="1")
    assert hash_directory(one) == hash_directory(other)


@pytest.mark.parametrize(
    "files",
    [{"a": "1", "sub__b": "3"}, {"a": "1", "b": "2"}, {"a": "12", "sub__b": ""}, {"a": "1", "sub__b": "2", "c": ""}],
)
def test_any_change_of_name_or_content_changes_the_hash(tmp_path: Path, files: dict[str, str]) -> None:
    """Two models under one name: evaluations would be credited to the wrong one."""
    assert hash_directory(make_folder(tmp_path / "x", **files)) != hash_directory(
        make_folder(tmp_path / "y", a="1", sub__b="2")
    )


def test_a_folder_that_is_missing_or_empty_has_no_hash(tmp_path: Path) -> None:
    """The hash of nothing would be a perfectly good model name."""
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(ModelNotFound, match=name):
            hash_directory(tmp_path / name)


def test_a_committed_folder_is_named_by_its_hash_and_staging_is_gone(tmp_path: Path) -> None:
    """Half a model under its final name would be promoted."""
    staging = make_folder(tmp_path / "staging", weights="w", sub__config="c")
    expected = hash_directory(staging)
    digest, final = commit_directory(staging, tmp_path / "models")
    assert digest == expected == hash_directory(final)
    assert final == tmp_path / "models" / digest[:16]
    assert not staging.exists()


def test_committing_the_same_content_again_changes_nothing(tmp_path: Path) -> None:
    """A job resumed after a crash commits twice; the second time must be harmless."""
    first = commit_directory(make_folder(tmp_path / "one", a="1"), tmp_path / "models")
    second = commit_directory(make_folder(tmp_path / "two", a="1"), tmp_path / "models")
    assert first == second
    assert [path.name for path in (tmp_path / "models").iterdir()] == [first[0][:16]]
    assert not (tmp_path / "two").exists()


def test_a_damaged_folder_under_the_right_name_is_not_taken_for_the_model(tmp_path: Path) -> None:
    """A cut-off file from a full disk would go live as the model it once was."""
    _, final = commit_directory(make_folder(tmp_path / "one", a="1"), tmp_path / "models")
    (final / "a").write_text("")
    staging = make_folder(tmp_path / "two", a="1")
    with pytest.raises(ModelCorrupt, match="move that folder away"):
        commit_directory(staging, tmp_path / "models")
    assert staging.exists()


def test_weights_with_another_checksum_are_refused(tmp_path: Path) -> None:
    """A swapped weights file would poison every label and every model made with it."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    check_weights(file, sha256=hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(ModelCorrupt, match="reinstall"):
        check_weights(file, sha256=hashlib.sha256(b"others").hexdigest())
    with pytest.raises(ModelNotFound, match="no weights"):
        check_weights(tmp_path / "none", sha256="")


def test_a_model_is_a_folder_or_a_name_for_the_hub_and_a_mistyped_path_is_neither(tmp_path: Path) -> None:
    """A mistyped path sent to the hub fails minutes later with somebody else's message."""
    assert resolve_model(str(tmp_path)) == tmp_path
    assert resolve_model("intfloat/e5-small") == "intfloat/e5-small"
    for missing in (tmp_path / "none", str(tmp_path / "none"), "./none"):
        with pytest.raises(ModelNotFound, match="none"):
            resolve_model(missing)
