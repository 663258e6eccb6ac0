"""Every session key, typed, and the screens by name. What outlives a session is in the database, never here."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import streamlit as st

from annotator.types import Criterion
from app.bootstrap import Workspace, open_workspace
from app.config import find_workspace
from app.services.certificate_views import Forecast, PlanView
from app.services.desk_choice import DEFAULT, DeskChoice
from app.services.judge_views import JudgeComparison
from app.services.label_choice import ALL, NAMES, LabelChoice, from_filters, to_address
from app.services.prepared_exports import PreparedExport
from app.services.views import ImportReport

MAX_NAME = 200
_MOST_COMPARISONS = 16


@dataclass(frozen=True, slots=True)
class Screen:
    """A page of the application; `path` is relative to `app/main.py`."""

    path: str
    title: str
    icon: str


SCREENS: Mapping[str, Screen] = MappingProxyType(
    {
        "overview": Screen("screens/overview.py", "Overview", ":material/dashboard:"),
        "labelling": Screen("screens/labelling.py", "Labelling", ":material/smart_toy:"),
        "labels": Screen("screens/labels.py", "Labels", ":material/label:"),
        "review": Screen("screens/review.py", "Review", ":material/rate_review:"),
        "adjudicate": Screen("screens/adjudicate.py", "Adjudicate", ":material/gavel:"),
        "judges": Screen("screens/judges.py", "Judges", ":material/balance:"),
        "work": Screen("screens/work.py", "Work", ":material/schedule:"),
        "calibration": Screen("screens/calibration.py", "Calibration", ":material/verified:"),
        "train": Screen("screens/train.py", "Train", ":material/model_training:"),
        "lineage": Screen("screens/lineage.py", "Lineage", ":material/account_tree:"),
        "search": Screen("screens/search.py", "Search", ":material/search:"),
        "data": Screen("screens/data.py", "Data", ":material/database:"),
    }
)

NoticeKind = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence about what the last action did, shown once."""

    text: str
    kind: NoticeKind


_PERSON = "state.person"
_CRITERION = "state.criterion"
_CARD = "state.card"
_CARD_PAIR = "state.card_pair"
_CARD_OPENED = "state.card_opened"
_TURN = "state.turn"
WANTED_PAIR = "state.wanted_pair"
_CASE = "state.wanted_case"
_PUT_OFF = "state.cases_put_off"
_CASES_OFFSET = "state.cases_offset"
_CASE_OPENED = "state.case_opened"
_HELP = "state.help"
_DESK = "state.desk"
_AROUND = "state.around"
_LIST = "state.query_list"
_PROPOSALS = "state.side_proposals"
_BULK = "state.bulk"
_OFFSET = "state.labels_page"
_LABELS = "state.labels_choice"
_LABELS_TABLE = "labels.table"
_LINEAGE_OFFSET = "state.lineage_offset"
_NOTICE = "state.notice."
_IMPORT = "state.import_report"
EXPORT = "state.export"
_UPLOADS = "state.uploads"
_QUESTION = "state.question"
_PLAN = "state.audit_plan"
_FORECAST = "state.audit_forecast"
_COMPARISON = "state.comparison"
_COMPARE_AGAIN = "state.compare_again"


@dataclass(frozen=True, slots=True)
class QueryList:
    """A whole query on the review screen, found by one of its pairs; `picking`: rows are picked and graded at once."""

    pair_id: int
    picking: bool


@st.cache_resource(show_spinner="Opening the workspace", on_release=lambda workspace: workspace.close())
def _opened(path: Path) -> Workspace:
    return open_workspace(path)


@cache
def rest_loaded() -> None:
    """Once a process: takes what is loaded by now out of the garbage collector's rounds.

    A full round over all of it holds a key press at the desk up for 150 ms, and there is nothing in it to be freed.
    """
    gc.collect()
    gc.freeze()


def get_workspace() -> Workspace:
    """The workspace this application serves, opened once a process.

    Raises:
        WorkspaceMissing, SettingsInvalid, DbError: it cannot be opened.
    """
    return _opened(find_workspace(None).absolute())


def get_criterion() -> Criterion:
    """What is judged on every screen of this session: relevance, until utility is chosen."""
    chosen = st.session_state.get(_CRITERION)
    return chosen if isinstance(chosen, Criterion) else Criterion.RELEVANCE


def choose_criterion(criterion: Criterion) -> None:
    """Show the other criterion from now on; a card, a page or a pair of the one before it is put away."""
    if criterion is not get_criterion():
        st.session_state[_CRITERION] = criterion
        for key in (_CARD, WANTED_PAIR, _CASE, _PUT_OFF, _CASES_OFFSET, _OFFSET, _LIST, _AROUND):
            st.session_state.pop(key, None)


def get_person() -> str:
    """Who sits here: chosen in this session, else named by the address (`?person=`), else the workspace's default."""
    chosen = st.session_state.get(_PERSON)
    if isinstance(chosen, str) and chosen:
        return chosen
    named = " ".join(st.query_params.get("person", "").split())[:MAX_NAME]
    return named or get_workspace().settings.person


def choose_person(name: str) -> None:
    """Remember who sits here for this session and, in the address, across a reload."""
    st.session_state[_PERSON] = name


def keep_person_in_address() -> None:
    """Write the person into the address, so that a reload or a bookmark finds the same person."""
    person = get_person()
    if person != get_workspace().settings.person:
        if st.query_params.get("person") != person:
            st.query_params["person"] = person
    elif "person" in st.query_params:
        del st.query_params["person"]


def open_card(card: str, *, pair_id: int) -> None:
    """Start the clock of a card when it is first shown; showing it again changes nothing."""
    if st.session_state.get(_CARD) != card:
        st.session_state[_CARD] = card
        st.session_state[_CARD_PAIR] = pair_id
        st.session_state[_CARD_OPENED] = time.monotonic()


def note_open_pair(pair_id: int) -> None:
    """Remember which pair is open where no card is shown, as after an undo in a list."""
    st.session_state[_CARD_PAIR] = pair_id


def forget_open_pair() -> None:
    st.session_state.pop(_CARD_PAIR, None)


def get_open_pair() -> int | None:
    """The pair that this person has open, as far as this session knows."""
    pair_id = st.session_state.get(_CARD_PAIR)
    return pair_id if isinstance(pair_id, int) else None


def get_seconds_on(card: str) -> float | None:
    """Seconds since that card was first shown in this session, or None if it is not the one shown."""
    if st.session_state.get(_CARD) != card:
        return None
    return time.monotonic() - float(st.session_state[_CARD_OPENED])


def get_turn() -> int:
    """How many key presses were dealt with; a new number tells the browser that keys count again."""
    return int(st.session_state.get(_TURN, 0))


def next_turn() -> None:
    st.session_state[_TURN] = get_turn() + 1


def want_pair(pair_id: int | None) -> None:
    """Ask the review screen for one particular pair; None returns to the queue."""
    if pair_id is None:
        st.session_state.pop(WANTED_PAIR, None)
    else:
        st.session_state[WANTED_PAIR] = pair_id


def get_wanted_pair() -> int | None:
    wanted = st.session_state.get(WANTED_PAIR)
    return wanted if isinstance(wanted, int) else None


def want_case(pair_id: int | None) -> None:
    """Ask the Adjudicate screen for one particular pair; None returns to the order they wait in."""
    if pair_id is None:
        st.session_state.pop(_CASE, None)
    else:
        st.session_state[_CASE] = pair_id


def get_wanted_case() -> int | None:
    wanted = st.session_state.get(_CASE)
    return wanted if isinstance(wanted, int) else None


def open_case(card: str) -> None:
    """Start the clock of a case when it is first shown; showing it again changes nothing."""
    kept = st.session_state.get(_CASE_OPENED)
    if not isinstance(kept, tuple) or kept[0] != card:
        st.session_state[_CASE_OPENED] = (card, time.monotonic())


def get_seconds_on_case(card: str) -> float | None:
    """Seconds since that case was first shown in this session, or None if it is not the one shown."""
    kept = st.session_state.get(_CASE_OPENED)
    return time.monotonic() - kept[1] if isinstance(kept, tuple) and kept[0] == card else None


def put_off_case(pair_id: int) -> None:
    """Leave a case for later in this session."""
    st.session_state[_PUT_OFF] = (*get_put_off(), pair_id)


def get_put_off() -> tuple[int, ...]:
    """The cases this session left for later."""
    return tuple(st.session_state.get(_PUT_OFF, ()))


def clear_put_off() -> None:
    """What was left for later comes again."""
    st.session_state.pop(_PUT_OFF, None)


def get_cases_offset() -> int:
    """The first case of the list that is shown."""
    return int(st.session_state.get(_CASES_OFFSET, 0))


def set_cases_offset(offset: int) -> None:
    st.session_state[_CASES_OFFSET] = max(0, offset)


def get_linked_pair() -> int | None:
    """The pair that the address names, as in `/labels?pair=12`, so that a pair can be sent to somebody."""
    named = st.query_params.get("pair", "")
    return int(named) if named.isascii() and named.isdigit() and len(named) < 16 else None


def close_linked_pair() -> None:
    if "pair" in st.query_params:
        del st.query_params["pair"]


def ask_for_help() -> None:
    st.session_state[_HELP] = True


def take_help_request() -> bool:
    """Whether help was asked for since the last call."""
    return bool(st.session_state.pop(_HELP, False))


def get_desk() -> DeskChoice:
    """The order and the part of the queue that this session asks for."""
    chosen = st.session_state.get(_DESK)
    return chosen if isinstance(chosen, DeskChoice) else DEFAULT


def choose_desk(desk: DeskChoice) -> None:
    st.session_state[_DESK] = desk


def ask_around(card: str | None) -> None:
    """Show the text around the passage of that card; None puts it away."""
    st.session_state[_AROUND] = card


def is_around_asked(card: str) -> bool:
    return st.session_state.get(_AROUND) == card


def show_proposals(shown: bool) -> None:
    """Show or hide what was proposed for the query's other candidates, from now on."""
    st.session_state[_PROPOSALS] = shown


def are_proposals_shown() -> bool:
    """Whether this session asked for them; hidden until then, for whoever has seen one cannot judge it blind."""
    return bool(st.session_state.get(_PROPOSALS, False))


def show_list(shown: QueryList | None) -> None:
    """Show a whole query in place of the card; None returns to the card."""
    st.session_state[_LIST] = shown


def keep_bulk(pair_ids: tuple[int, ...]) -> None:
    """Remember what was just graded at once, so that one undo takes all of it back; () forgets it."""
    st.session_state[_BULK] = pair_ids


def get_bulk() -> tuple[int, ...]:
    return tuple(st.session_state.get(_BULK, ()))


def get_list() -> QueryList | None:
    shown = st.session_state.get(_LIST)
    return shown if isinstance(shown, QueryList) else None


def get_labels_page() -> Mapping[str, int]:
    """Behind (`after`) or before (`before`) which pair the page of labels that is shown lies; empty for the first."""
    kept = st.session_state.get(_OFFSET)
    return kept if isinstance(kept, Mapping) else {}


def set_labels_page(*, after: int | None = None, before: int | None = None) -> None:
    ends = {"after": after, "before": before}
    st.session_state[_OFFSET] = {end: pair_id for end, pair_id in ends.items() if pair_id is not None}


def get_labels_choice() -> LabelChoice:
    """What the Labels screen is narrowed to: chosen in this session, or named by an address that was opened."""
    kept = st.session_state.get(_LABELS)
    choice, address = kept if isinstance(kept, tuple) else (None, {})
    named = {name: st.query_params[name] for name in NAMES if name in st.query_params}
    if choice is None or (named and named != address):
        choice = from_filters(named)
        st.session_state[_LABELS] = (choice, named)
    return choice if isinstance(choice, LabelChoice) else ALL


def choose_labels(choice: LabelChoice) -> None:
    """Narrow the Labels screen anew: it begins at its first page, with nothing selected."""
    _keep_labels(choice)
    set_labels_page()
    forget(_LABELS_TABLE)


def keep_labels_in_address() -> None:
    """Write what the Labels screen is narrowed to into the address, so that it can be sent to somebody."""
    _keep_labels(get_labels_choice())


def _keep_labels(choice: LabelChoice) -> None:
    address = to_address(choice)
    st.session_state[_LABELS] = (choice, address)
    for name in NAMES:
        if name in address and st.query_params.get(name) != address[name]:
            st.query_params[name] = address[name]
        elif name not in address and name in st.query_params:
            del st.query_params[name]


def get_lineage_offset() -> int:
    """The first label of the Lineage page that is shown."""
    return int(st.session_state.get(_LINEAGE_OFFSET, 0))


def set_lineage_offset(offset: int) -> None:
    st.session_state[_LINEAGE_OFFSET] = max(0, offset)


def ask_to_compare_again(evaluation_id: int) -> None:
    st.session_state[_COMPARE_AGAIN] = evaluation_id


def take_asked_to_compare() -> int | None:
    """The comparison that the last click asked to repeat, once."""
    asked = st.session_state.pop(_COMPARE_AGAIN, None)
    return asked if isinstance(asked, int) else None


def leave_notice(screen: str, text: str, kind: NoticeKind = "done") -> None:
    st.session_state[_NOTICE + screen] = Notice(text, kind)


def take_notice(screen: str) -> Notice | None:
    """What the last action on that screen did, once."""
    notice = st.session_state.pop(_NOTICE + screen, None)
    return notice if isinstance(notice, Notice) else None


def keep_import_report(report: ImportReport | None) -> None:
    st.session_state[_IMPORT] = report


def get_import_report() -> ImportReport | None:
    report = st.session_state.get(_IMPORT)
    return report if isinstance(report, ImportReport) else None


def keep_export(prepared: PreparedExport | None) -> None:
    st.session_state[EXPORT] = prepared


def get_export() -> PreparedExport | None:
    prepared = st.session_state.get(EXPORT)
    return prepared if isinstance(prepared, PreparedExport) else None


def get_upload_round() -> int:
    """A number that changes when the uploader is to be emptied."""
    return int(st.session_state.get(_UPLOADS, 0))


def next_upload_round() -> None:
    st.session_state[_UPLOADS] = get_upload_round() + 1


def keep_comparison(mark: object, comparison: JudgeComparison) -> None:
    """Remember the comparison of judges that was made for this mark; a new one is made when the mark changes."""
    kept = st.session_state.setdefault(_COMPARISON, {})
    if len(kept) >= _MOST_COMPARISONS:
        kept.clear()
    kept[mark] = comparison


def get_comparison(mark: object) -> JudgeComparison | None:
    found = st.session_state.get(_COMPARISON, {}).get(mark)
    return found if isinstance(found, JudgeComparison) else None


def keep_plan(plan: PlanView | None) -> None:
    """Remember the audit plan last worked out; it takes seconds, and holds for one judge only."""
    st.session_state[_PLAN] = plan


def get_plan() -> PlanView | None:
    plan = st.session_state.get(_PLAN)
    return plan if isinstance(plan, PlanView) else None


def keep_forecast(mark: tuple[int, ...], forecast: Forecast) -> None:
    """Remember what thresholds would accept while the mark stays: moving a slider must not compute it anew."""
    st.session_state[_FORECAST] = (mark, forecast)


def get_forecast(mark: tuple[int, ...]) -> Forecast | None:
    kept = st.session_state.get(_FORECAST)
    return kept[1] if isinstance(kept, tuple) and kept[0] == mark else None


def keep_question(question: str) -> None:
    """Remember the searched question across screens; a widget's own value does not survive leaving its screen."""
    st.session_state[_QUESTION] = question


def get_question() -> str:
    return str(st.session_state.get(_QUESTION, ""))


def value_of(widget: str) -> object:
    """The value a widget holds now, inside its callback; `widget` is its key, `screen.widget`."""
    return st.session_state.get(widget)


def has_value(widget: str) -> bool:
    """Whether that widget is drawn, or was when the screen was last left alone."""
    return widget in st.session_state


def set_value(widget: str, value: object) -> None:
    """Give a widget a value before it is drawn, as in the callback of another one."""
    st.session_state[widget] = value


def forget(widget: str) -> None:
    """Drop a widget's value, such as a selection that points into a list which is no longer shown."""
    st.session_state.pop(widget, None)


def selected_rows(widget: str) -> list[int]:
    """The rows selected in a table, by position; empty when none is."""
    table = st.session_state.get(widget)
    if not isinstance(table, Mapping):
        return []
    selection = table.get("selection")
    rows = selection.get("rows") if isinstance(selection, Mapping) else None
    return [int(row) for row in rows] if rows else []
