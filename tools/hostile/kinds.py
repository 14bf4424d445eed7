"""The table of kinds of calls, and how often each is drawn."""

from __future__ import annotations

from hostile import checkpoints, lines, masks, models, results, vocabularies
from hostile.call import Kind

KINDS: dict[str, tuple[Kind, int]] = {
    "load_model": (models.load_model, 5),
    "Model: segment, similarity, recognize": (models.one_method, 16),
    "Model: its parts": (models.encoders, 6),
    "load_image": (models.load_image, 10),
    "image files": (models.image_file, 10),
    "vocabularies": (vocabularies.vocabulary, 6),
    "vocabulary files": (vocabularies.vocabulary_file, 5),
    "load_segmenter": (masks.load_segmenter, 4),
    "TextToMask": (masks.text_to_mask, 8),
    "TextToMask.predict": (masks.predict, 6),
    "sessions": (masks.session, 6),
    "segmenters": (masks.segmenter, 8),
    "results": (results.result, 6),
    "results: save": (results.save, 5),
    "results: made by hand": (results.by_hand, 4),
    "checkpoints": (checkpoints.checkpoint, 10),
    "configs of checkpoints": (checkpoints.config, 4),
    "command lines": (lines.command_line, 18),
    "other command lines": (lines.other_line, 5),
}
