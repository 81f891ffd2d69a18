"""Write medrega_edge/vocabulary/pinyin.json: the characters of GB 2312 by their most common syllable, without tone.

pip install pypinyin && python -m tools.pinyin_table
"""

import json
from pathlib import Path

from pypinyin import lazy_pinyin

TABLE = Path(__file__).resolve().parents[1] / "medrega_edge" / "vocabulary" / "pinyin.json"
LEVELS = range(0xB0, 0xF8)  # first bytes of the characters of GB 2312
SECOND = range(0xA1, 0xFF)


def main():
    """Write the table."""
    syllables: dict[str, str] = {}
    for first in LEVELS:
        for second in SECOND:
            character = bytes([first, second]).decode("gb2312", "ignore")
            if character:
                (syllable,) = lazy_pinyin(character)
                syllables[syllable] = syllables.get(syllable, "") + character
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in sorted(syllables.items()))
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
