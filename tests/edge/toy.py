"""A toy vocabulary of one token a character, a scripted language model, and what a task runs on."""

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language
from medrega_edge.inference.language_model import Generation
from medrega_edge.inference.region_tokens import RegionTokens
from medrega_edge.inference.tokenizer import StreamDecoder, Tokenizer
from medrega_edge.package.registry import find_package
from medrega_edge.tasks.base import TaskContext
from medrega_edge.vocabulary.terminology import Terminology

# Markers and the end are whole; punctuation is cut to pieces, but for one separator.
TOKENS = ["<end>", "<ref>", "</ref>", "<box>", "</box>", *"0123456789", "[", "]", ",", " ", "a", "肝", "], ["]
ID = {token: index for index, token in enumerate(TOKENS)}


def cut(text):
    return tuple(ID[character] for character in text)


def vocabulary(whole_separators):
    return RegionTokens(
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


class ScriptedModel:
    """A language model that generates `words` whatever is asked, as far as the grammar allows, and keeps the prompts."""

    has_region_head = False

    def __init__(self, words, tokenizer=None, end="<|im_end|>"):
        self._tokenizer = tokenizer or Tokenizer(find_package().text("tokenizer"))
        self.words, self.prompts = words, []
        self.vocabulary = RegionTokens.of(self._tokenizer, (self._tokenizer.id_of(end),))
        self.encode_continuation = self._tokenizer.encode_continuation
        self.strip_special_tokens = self._tokenizer.strip_special_tokens

    def generate(self, image, prompt, grammar, max_tokens, on_text=None):
        self.prompts.append(prompt)
        stream = StreamDecoder(self._tokenizer, on_text or (lambda _: None))
        for token in self._tokenizer.encode_continuation(self.words, prompt.question):
            grammar.push(token)
            stream.push(token)
        stream.finish()
        return Generation(self.words, (), "stop", 0, 0.0, 0.0)


def context(language_model, prompts, language=Language.EN, image=None, **options):
    """What a task runs on, about an image of 100 x 100 pixels that is no medical one."""
    nothing = {"image_modality": lambda: None} | options
    return TaskContext(
        language_model, prompts, Terminology(prompts.labels), image, Geometry(100, 100), language=language, **nothing
    )
