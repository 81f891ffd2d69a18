"""Reports and questions whether an image is normal word the findings that `locate` finds, and say what is in doubt."""

from dataclasses import replace

import pytest

from medrega_edge.boxes import GridBox
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.tasks import findings, reporting
from medrega_edge.tasks.base import Detection, TaskResult
from medrega_edge.tasks.findings import Findings, ImageClass
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.presence import Presence
from medrega_edge.tasks.report_sentences import Sentence, names_in
from medrega_edge.tasks.reporting import Report
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.states import asks_if_normal, disease_word
from tests.codes import raises_code

TUMOUR, MASS = ("liver tumor", "肝脏肿瘤"), ("liver mass", "肝脏肿块")
NORMAL = ImageClass(("healthy kidneys", "健康肾脏"), 0.9, True, True)
ILL = ImageClass(("chronic kidney disease", "慢性肾病"), 0.9, False, True)


def one(name, confidence, is_doubted=False):
    located = TaskResult("", (Detection(name[0], GridBox(0, 0, 100, 100), confidence),) if confidence else ())
    return Presence(name, located, confidence, is_doubted)


@pytest.fixture
def told(engine, scan, monkeypatch):
    """Tell what a request says where these findings and classes are facts."""

    def tell(request, searched, classes=(), proposed=(), language=Language.EN):
        facts = Findings(searched, classes, proposed)
        monkeypatch.setattr(reporting, "gather", lambda *_: facts)
        monkeypatch.setattr(reporting, "look_for_structures", lambda _: [])
        return request.run(engine.context(scan, language))

    return tell


def sentences(text, language=Language.EN):
    return dict(names_in(text, language))


@pytest.mark.parametrize("language", Language)
def test_a_report_words_what_is_found_and_what_is_in_doubt(told, language):
    result = told(Report(), [one(TUMOUR, 0.9), one(MASS, 0.9, True)], [ILL], language=language)
    said, column = sentences(result.text, language), language is Language.ZH
    assert {TUMOUR[column], ILL.name[column]} <= set(said[Sentence.ABNORMAL])
    assert said[Sentence.PERHAPS] == [MASS[column]]


@pytest.mark.parametrize(
    ("confidence", "proposed", "is_said"),
    [(0.3, ("liver mass",), True), (0.3, (), False), (0.0, ("liver mass",), False), (0.6, (), True)],
)
def test_a_doubtful_finding_needs_a_likely_box_or_the_words_of_the_weights(told, confidence, proposed, is_said):
    result = told(Report(), [one(MASS, confidence, True)], proposed=proposed)
    assert ("liver mass" in sentences(result.text).get(Sentence.PERHAPS, [])) is is_said
    assert "liver mass" not in sentences(result.text).get(Sentence.ABNORMAL, [])


def normality(**parameters):
    code = parameters.pop("code")
    return Message(f"answer.{code}", **parameters).text(Language.EN)


@pytest.mark.parametrize(
    ("searched", "classes", "said"),
    [
        ([one(TUMOUR, 0.9)], [], {"code": "abnormal", "names": ["liver tumor"]}),
        ([one(TUMOUR, 0.9, True)], [], {"code": "perhaps_abnormal", "names": ["liver tumor"]}),
        ([one(TUMOUR, 0.9, True)], [NORMAL], {"code": "contradiction", "label": NORMAL.name[0], "names": ["liver tumor"]}),
        ([one(TUMOUR, 0.9)], [NORMAL], {"code": "contradiction", "label": NORMAL.name[0], "names": ["liver tumor"]}),
        ([one(TUMOUR, 0.0)], [NORMAL], {"code": "normal_class", "label": NORMAL.name[0]}),
        ([one(TUMOUR, 0.0)], [replace(NORMAL, is_certain=False)], {"code": "no_known_finding", "names": ["liver tumor"]}),
        ([], [], {"code": "knows_no_finding"}),
        ([], [ILL], {"code": "abnormal", "names": [ILL.name[0]]}),
        ([], [replace(ILL, probability=0.6, is_certain=False)], {"code": "perhaps_abnormal", "names": [ILL.name[0]]}),
    ],
)
def test_normal_is_said_only_where_a_class_says_so(told, searched, classes, said):
    assert told(IsNormal("Is it normal?"), searched, classes).text == normality(**said)


def test_of_a_structure_only_its_findings_count(told):
    asked = IsNormal("Is the kidney normal?", (("left kidney", "左肾"),))
    assert told(asked, [one(TUMOUR, 0.9)], [NORMAL]).text == normality(code="knows_no_finding")
    assert told(replace(asked, structures=(("liver", "肝脏"),)), [one(TUMOUR, 0.9)]).text.count("liver tumor") == 1
    assert "cardiomegaly" in findings_at(["heart"])


@pytest.mark.parametrize(
    ("question", "structures"),
    [
        ("Is it normal?", ()),
        ("这张图正常吗", ()),
        ("is this normal or abnormal", ()),
        ("Is the liver normal?", ("liver",)),
        ("肝脏正常吗", ("liver",)),
    ],
)
def test_questions_whether_something_is_normal(engine, scan, question, structures):
    asked = engine.request(scan, question).request
    assert isinstance(asked, IsNormal)
    assert tuple(english for english, _ in asked.structures) == structures


@pytest.mark.parametrize("text", ["locate the normal liver", "locate the liver", "肝脏在哪"])
def test_other_questions(text):
    assert not asks_if_normal(text)


@pytest.mark.parametrize(
    ("question", "word"),
    [("is there a cirrhotic liver", "cirrhotic"), ("有没有硬化的肝脏", "硬化"), ("any fatty liver?", None)],
)
def test_what_a_structure_is_ill_with_is_not_dropped(engine, scan, question, word):
    code = "task.state_unknown" if word else "task.unknown_name_here"
    with raises_code(UsageError, code, **({"word": word} if word else {})):
        engine.request(scan, question)
    assert disease_word("is there a liver") is None


def test_classes_count_only_in_images_of_their_body_part(engine, scan):
    context = engine.context(scan, Language.EN)
    here = {each.name[0] for each in findings._classes(context, Modality.MRI, "abdomen", ())}
    assert here and here <= {"healthy kidneys", "chronic kidney disease"}
    assert list(findings._classes(context, Modality.MRI, "brain", ())) == []


def test_a_class_that_denies_one_disease_proves_no_normal_image(told):
    denial = ImageClass(("no diabetic retinopathy", "无糖尿病视网膜病变"), 0.99, True, True)
    said = told(IsNormal("is it normal?"), [], [denial]).text
    assert said.startswith("Not sure") and "no diabetic retinopathy" in said
