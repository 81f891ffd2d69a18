"""Small files in the layouts that are read, written here after the layouts' published descriptions."""

import json

from PIL import Image


def picture(path, width=200, height=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height), 90).save(path)
    return path


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def lines(*rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)


def slake(**changes):
    row = {
        "img_id": 0, "img_name": "xmlab0/source.jpg", "question": "What modality is used?", "answer": "MRI", "q_lang": "en",
        "location": "Abdomen", "modality": "MRI", "answer_type": "OPEN", "base_type": "vqa", "content_type": "Modality",
        "triple": ["vhead", "_", "_"], "qid": 9,
    }  # fmt: skip
    return row | changes


def coco(**changes):
    whole = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 200, "height": 100},
            {"id": 8, "file_name": "b.png", "width": 200, "height": 100},
        ],
        "categories": [{"id": 1, "name": "lesion"}, {"id": 2, "name": "肝脏"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [20, 10, 80, 40], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [150, 60, 50, 40]},
            {"id": 3, "image_id": 7, "category_id": 2, "bbox": [0, 0, 200, 100]},
        ],
    }
    return whole | changes


HEADER = "image,question,answer,task,language,box,labels"


def table(folder, *rows, header=HEADER):
    picture(folder / "a.png")
    return write(folder / "q.csv", "\n".join([header, *rows]))


def sample(value, answer, image="a.png", **more):
    turns = [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return {"id": 0, "image": image, "conversations": turns} | more


def said(caught):
    """What an error says: its code, its place as text, and its other parameters."""
    params = dict(caught.value.message.params)
    return caught.value.code, str(params.pop("place", "")), params
