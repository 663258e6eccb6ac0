"""What took long to work out or to upload, kept for this session so that a click elsewhere does not repeat it."""

from __future__ import annotations

import streamlit as st

from app.services.certificate_views import Forecast, PlanView
from app.services.judge_views import JudgeComparison
from app.services.prepared_exports import PreparedExport
from app.services.views import ImportReport
from app.state import session_keys

_MOST_COMPARISONS = 16


def ask_to_compare_again(evaluation_id: int) -> None:
    st.session_state[session_keys.COMPARE_AGAIN] = evaluation_id


def take_asked_to_compare() -> int | None:
    """The comparison that the last click asked to repeat, once."""
    asked = st.session_state.pop(session_keys.COMPARE_AGAIN, None)
    return asked if isinstance(asked, int) else None


def keep_import_report(report: ImportReport | None) -> None:
    st.session_state[session_keys.IMPORT] = report


def get_import_report() -> ImportReport | None:
    report = st.session_state.get(session_keys.IMPORT)
    return report if isinstance(report, ImportReport) else None


def keep_export(prepared: PreparedExport | None) -> None:
    st.session_state[session_keys.EXPORT] = prepared


def get_export() -> PreparedExport | None:
    prepared = st.session_state.get(session_keys.EXPORT)
    return prepared if isinstance(prepared, PreparedExport) else None


def get_upload_round() -> int:
    """A number that changes when the uploader is to be emptied."""
    return int(st.session_state.get(session_keys.UPLOADS, 0))


def next_upload_round() -> None:
    st.session_state[session_keys.UPLOADS] = get_upload_round() + 1


def keep_comparison(mark: object, comparison: JudgeComparison) -> None:
    """Remember the comparison of judges that was made for this mark; a new one is made when the mark changes."""
    kept = st.session_state.setdefault(session_keys.COMPARISON, {})
    if len(kept) >= _MOST_COMPARISONS:
        kept.clear()
    kept[mark] = comparison


def get_comparison(mark: object) -> JudgeComparison | None:
    found = st.session_state.get(session_keys.COMPARISON, {}).get(mark)
    return found if isinstance(found, JudgeComparison) else None


def keep_plan(plan: PlanView | None) -> None:
    """Remember the audit plan last worked out; it takes seconds, and holds for one judge only."""
    st.session_state[session_keys.PLAN] = plan


def get_plan() -> PlanView | None:
    plan = st.session_state.get(session_keys.PLAN)
    return plan if isinstance(plan, PlanView) else None


def keep_forecast(mark: tuple[int, ...], forecast: Forecast) -> None:
    """Remember what thresholds would accept while the mark stays: moving a slider must not compute it anew."""
    st.session_state[session_keys.FORECAST] = (mark, forecast)


def get_forecast(mark: tuple[int, ...]) -> Forecast | None:
    kept = st.session_state.get(session_keys.FORECAST)
    return kept[1] if isinstance(kept, tuple) and kept[0] == mark else None


def keep_question(question: str) -> None:
    """Remember the searched question across screens; a widget's own value does not survive leaving its screen."""
    st.session_state[session_keys.QUESTION] = question


def get_question() -> str:
    return str(st.session_state.get(session_keys.QUESTION, ""))
