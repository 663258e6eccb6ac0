"""How grades of a source become grades of the workspace: always by a stored mapping, never by a guess a line."""

from __future__ import annotations

from collections.abc import Mapping

from app.services.importing.rows import BadLine


def default_mapping(source_max: int, workspace_max: int) -> dict[int, int]:
    """The mapping used when nobody gives one; our choice.

    A binary source's 1 is the highest grade. The same highest grade maps one to one. Otherwise grades are spread in
    proportion and rounded, halves up: 0..2 onto 0..3 is 0, 2, 3.
    """
    if source_max == 1:
        return {0: 0, 1: workspace_max}
    return {g: (2 * g * workspace_max + source_max) // (2 * source_max) for g in range(source_max + 1)}


def mapped_grade(grade: int, mapping: Mapping[int, int]) -> int:
    """The workspace's grade for one of the source's.

    Raises:
        BadLine: the mapping does not know the grade.
    """
    mapped = mapping.get(grade)
    if mapped is None:
        raise BadLine(f"the grade {grade} is not on the source's scale {min(mapping)}..{max(mapping)}")
    return mapped


def in_words(mapping: Mapping[int, int], workspace_max: int) -> str:
    """The mapping as a person reads it."""
    if mapping == {g: g for g in range(workspace_max + 1)}:
        return f"grades 0..{workspace_max} were taken as they are"
    arrows = ", ".join(f"{source} → {grade}" for source, grade in sorted(mapping.items()))
    return f"grades were mapped onto 0..{workspace_max}: {arrows}"
