"""The words that are typed into the page: a few with commas, or a class list."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ovseg.annotation.classes import NOT, Classes, parse_classes
from ovseg.errors import UsageError
from ovseg.words.vocabulary import as_vocabulary, find_vocabulary, list_vocabularies

if TYPE_CHECKING:
    from ovseg.model import Model

MOST_WORDS = 100
"""Most words on the page: nobody looks through more cards. ``ovseg annotate`` has no such bound."""
_SPECIAL = re.compile(r'[:#"\n]|>=|,')


def read_words(text: str) -> Classes:
    """Parse the words of the text field.

    Args:
        text: one line of words with commas between them; the name of a vocabulary; or lines of a class list
            as ``ovseg.annotation.classes`` describes it, of which one with ":" or ">=" may stand alone.

    Raises:
        UsageError: there is no word, there are more than ``MOST_WORDS``, or a line cannot be read.

    >>> read_words("sky, tree").names, read_words("dog >= 0.6: dog, puppy").thresholds
    (('sky', 'tree'), {'dog': 0.6})
    >>> read_words("sky\\ntree\\nnot: poster").negatives
    ('poster',)
    """
    line = text.strip()
    if not line:
        raise UsageError("expected words such as 'sky, tree', got none")
    if line in list_vocabularies():
        classes = Classes(find_vocabulary(line))
    elif "\n" in line or ":" in line or ">=" in line or line.startswith('"'):
        classes = parse_classes(line)
    else:
        classes = Classes(as_vocabulary(line))
    return check_words_of_page(classes)


def check_words_of_page(classes: Classes) -> Classes:
    """Return the classes if the page can show them. Raises UsageError."""
    if not classes.objects:
        raise UsageError("expected a word besides 'background', got none")
    if len(classes.objects) > MOST_WORDS:
        raise UsageError(
            f"expected at most {MOST_WORDS} words on the page, got {len(classes.objects)}: "
            "ovseg annotate takes long lists"
        )
    return classes


def shown_words(classes: Classes) -> str:
    """The text that ``read_words`` parses into the same classes, on one line if possible.

    >>> shown_words(read_words("sky,tree"))
    'sky, tree'
    >>> shown_words(read_words('dog >= 0.6: dog, puppy\\n"a, b"\\nnot: poster'))
    'dog >= 0.6: dog, puppy\\n"a, b"\\nnot: poster'
    """
    rows = list(zip(classes.names, classes.texts, strict=True))
    plain = all(texts == (name,) and _quoted(name) == name for name, texts in rows)
    if plain and not classes.thresholds and not classes.negatives:
        return ", ".join(classes.names)
    lines = []
    for name, texts in rows:
        line = _quoted(name)
        if name in classes.thresholds:
            line += f" >= {classes.thresholds[name]:g}"
        if texts != (name,):
            line += ": " + ", ".join(_quoted(text) for text in texts)
        lines.append(line)
    if classes.negatives:
        lines.append(f"{NOT}: " + ", ".join(_quoted(text) for text in classes.negatives))
    return "\n".join(lines)


def unknown_lines(model: Model, classes: Classes) -> dict[str, str]:
    """For each class with a word that the model cannot know, a line that offers near words."""
    found = {
        name: model.unknown_words(texts) for name, texts in zip(classes.names, classes.texts, strict=True)
    }
    return {name: "; ".join(map(str, unknown)) for name, unknown in found.items() if unknown}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if _SPECIAL.search(text) or text == NOT else text
