"""What is asked, in words for a person: kinds of question and tasks."""

from medrega_edge.i18n.message import Message

KIND_NAMES = {
    "answer": Message("asked.answer"),
    "body_part": Message("asked.body_part"),
    "classify": Message("asked.classify"),
    "compare": Message("asked.compare"),
    "count": Message("asked.count"),
    "distance": Message("asked.distance"),
    "grounded_report": Message("asked.grounded_report"),
    "identify": Message("asked.identify"),
    "kind_of_image": Message("asked.kind_of_image"),
    "locate": Message("asked.locate"),
    "measure": Message("asked.measure"),
    "organs": Message("asked.organs"),
    "presence": Message("asked.presence"),
    "report": Message("asked.report"),
    "segment": Message("asked.segment"),
    "side": Message("asked.side"),
    "detect": Message("asked.locate"),
    "vqa": Message("asked.answer"),
}
