"""Every choice that decides a result: defined, given its default and checked here and nowhere else.

Python calls, the command line, MMSegmentation's configs and the records of results use the same objects.
An option class is frozen and checks itself when it is made, so an object that exists holds valid values.
This room imports no torch: the command line reads its defaults before any model is loaded.

    >>> SegmentOptions(size=512, background_threshold=0.1).describe()["size"]
    512
    >>> SegmentOptions.make(None, {"sise": 512})
    Traceback (most recent call last):
    ...
    ovseg.errors.UsageError: unknown option 'sise': did you mean 'size'?
"""

from ovseg.options.annotation import CVAT_FUNCTIONS as CVAT_FUNCTIONS
from ovseg.options.annotation import ENGINES as ENGINES
from ovseg.options.annotation import FORMATS as FORMATS
from ovseg.options.annotation import LABEL_FIELDS as LABEL_FIELDS
from ovseg.options.annotation import MAP_THRESHOLDS as MAP_THRESHOLDS
from ovseg.options.annotation import MASK_CHOICES as MASK_CHOICES
from ovseg.options.annotation import POINT_RULES as POINT_RULES
from ovseg.options.annotation import PROMPTS as PROMPTS
from ovseg.options.annotation import RIVALS as RIVALS
from ovseg.options.annotation import SHAPES as SHAPES
from ovseg.options.annotation import TASKS as TASKS
from ovseg.options.annotation import AnnotateOptions as AnnotateOptions
from ovseg.options.annotation import CvatOptions as CvatOptions
from ovseg.options.annotation import FormatOptions as FormatOptions
from ovseg.options.annotation import MaskOptions as MaskOptions
from ovseg.options.annotation import RunOptions as RunOptions
from ovseg.options.annotation import ServeOptions as ServeOptions
from ovseg.options.fields import Options as Options
from ovseg.options.fields import Plain as Plain
from ovseg.options.fields import check_known as check_known
from ovseg.options.models import MAX_BATCH as MAX_BATCH
from ovseg.options.models import PRECISIONS as PRECISIONS
from ovseg.options.models import RESIZES as RESIZES
from ovseg.options.models import SURGERIES as SURGERIES
from ovseg.options.models import SYNONYMS as SYNONYMS
from ovseg.options.models import DeviceOptions as DeviceOptions
from ovseg.options.models import ExplainOptions as ExplainOptions
from ovseg.options.models import ImageOptions as ImageOptions
from ovseg.options.models import InputOptions as InputOptions
from ovseg.options.models import LoadOptions as LoadOptions
from ovseg.options.models import ModelOptions as ModelOptions
from ovseg.options.models import RecognitionOptions as RecognitionOptions
from ovseg.options.models import SegmenterOptions as SegmenterOptions
from ovseg.options.models import SegmentOptions as SegmentOptions
from ovseg.options.models import SimilarityOptions as SimilarityOptions
