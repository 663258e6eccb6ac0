from retriever.slices import FAMILIES, by_length, by_relevant, by_training_labels, family_of, seen_queries

QRELS = {"a": {"p": 3, "q": 1}, "b": {"q": 2, "r": 2, "s": 3}, "c": {"t": 1}}


def test_a_query_is_seen_when_any_of_its_relevant_passages_was_a_positive() -> None:
    """A passage that was only judged unrelated teaches no answer; one relevant passage that was trained on does."""
    assert seen_queries(QRELS, {"q"}, relevant_from=2) == {"b"}
    assert seen_queries(QRELS, {"p", "s", "t"}, relevant_from=2) == {"a", "b"}
    assert seen_queries(QRELS, set(), relevant_from=2) == set()


def test_queries_are_parted_by_their_words() -> None:
    """Keyword queries and whole sentences fail for different reasons."""
    texts = {"a": "", "b": "one two three four", "c": "1 2 3 4 5", "d": "  w " * 9, "e": "w " * 10}
    assert by_length(texts) == {"1 to 4 words": {"a", "b"}, "5 to 9 words": {"c", "d"}, "10 words or more": {"e"}}


def test_queries_are_parted_by_how_many_relevant_passages_were_judged() -> None:
    """With one known answer a single swap decides the figure; such queries are to be read apart."""
    assert by_relevant(QRELS, relevant_from=2) == {"1 relevant passage": {"a"}, "2 to 4 relevant passages": {"b"}}
    many = {"m": {f"p{at}": 2 for at in range(5)}}
    assert by_relevant(many, relevant_from=2) == {"5 relevant passages or more": {"m"}}


def test_queries_are_parted_by_the_labels_training_had_on_their_answers() -> None:
    """A gain only where labels are plenty says that more labels would help elsewhere."""
    parts = by_training_labels(QRELS, {"r": 1, "s": 4, "q": 0, "elsewhere": 9}, relevant_from=2)
    assert parts == {"0 training labels": {"a"}, "5 training labels or more": {"b"}}
    assert by_training_labels(QRELS, {"r": 4}, relevant_from=2)["1 to 4 training labels"] == {"b"}


def test_every_slice_belongs_to_one_family() -> None:
    """A slice without its explanation is a riddle on the screen."""
    names = [name for family in FAMILIES for name in family.names]
    assert len(names) == len(set(names))
    assert all(family_of(name) is not None for name in names)
    assert family_of("from another version") is None
