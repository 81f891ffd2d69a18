import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrega_edge.errors import PackageError
from medrega_edge.inference.tokenizer import StreamDecoder, Tokenizer
from medrega_edge.package.registry import find_package
from tests.codes import raises_code

TOKENIZER = Tokenizer(find_package().text("tokenizer"))
words = st.lists(
    st.sampled_from(["liver", "肝脏", "🫀", "<ref>", "</ref>", "<box>", "[[12, 3", ", 999]]", "</box>", " ", "é"])
)


@given(st.one_of(words.map("".join), st.text(st.characters(exclude_categories=["Cs"]))))
def test_streamed_equals_decoded_at_once(text):
    ids = TOKENIZER.encode(text)
    pieces = []
    stream = StreamDecoder(TOKENIZER, pieces.append)
    for token in ids:
        stream.push(token)
    stream.finish()
    assert all(pieces)
    assert "".join(pieces) == TOKENIZER.decode(ids) == text


@pytest.mark.parametrize("number", ["0", "7", "42", "999"])
def test_every_digit_is_its_own_token(number):
    assert len(TOKENIZER.encode(number)) == len(number)


def test_markers_are_single_tokens_and_are_taken_out_of_questions():
    for marker in ("<ref>", "</ref>", "<box>", "</box>", "<IMG_CONTEXT>", "<|im_end|>"):
        assert TOKENIZER.encode(marker) == [TOKENIZER.id_of(marker)]
        assert TOKENIZER.strip_special_tokens(f"a{marker}b") == "ab"
    assert TOKENIZER.strip_special_tokens("a<<ref>ref>b<|im<box>_end|>") == "ab"


def test_a_file_that_is_no_tokenizer():
    with raises_code(PackageError, "inference.unreadable_tokenizer"):
        Tokenizer("{}")
    with raises_code(PackageError, "inference.missing_token", token="<nothing>"):
        TOKENIZER.id_of("<nothing>")
