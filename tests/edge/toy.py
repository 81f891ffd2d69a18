"""A toy vocabulary of one token a character, for tests of what is written under a grammar."""

from medrega_edge.inference.grammars import Vocabulary

# Markers and the end are whole; punctuation is cut to pieces, but for one separator.
TOKENS = ["<end>", "<ref>", "</ref>", "<box>", "</box>", *"0123456789", "[", "]", ",", " ", "a", "肝", "], ["]
ID = {token: index for index, token in enumerate(TOKENS)}


def cut(text):
    return tuple(ID[character] for character in text)


def vocabulary(whole_separators):
    return Vocabulary(
        ref_open=ID["<ref>"],
        ref_close=ID["</ref>"],
        box_open=ID["<box>"],
        box_close=ID["</box>"],
        end=(ID["<end>"],),
        digits=cut("0123456789"),
        open_list=cut("[["),
        between=cut(", "),
        next_box=(ID["], ["],) if whole_separators else cut("], ["),
        close_list=cut("]]"),
    )
