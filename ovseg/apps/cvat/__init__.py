"""Functions for CVAT's command-line client: detection by words, masks for clicks, tracking.

    cvat-cli task auto-annotate 5 --function-module ovseg.apps.cvat -p classes=str:"sky, tree"

cvat-cli imports this module and calls ``create`` with the parameters after ``-p``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from ovseg.annotation.classes import Classes, parse_classes, read_classes
from ovseg.errors import MissingPackageError, OvsegError, UsageError, extra
from ovseg.model import load_model
from ovseg.options import AnnotateOptions, CvatOptions, check_known
from ovseg.segmenters.load import load_segmenter

if TYPE_CHECKING:
    from ovseg.apps.cvat.detection import Detection
    from ovseg.apps.cvat.interaction import Interaction
    from ovseg.apps.cvat.tracking import Tracking

Parameter: TypeAlias = str | int | float | bool
"""The types of a value in ``-p NAME=TYPE:VALUE`` of cvat-cli."""


def create(**parameters: Parameter) -> Detection | Interaction | Tracking:
    """Check the parameters, load the models, and make the function that cvat-cli runs.

    Args:
        parameters: the fields of ``CvatOptions``, ``LoadOptions`` and ``AnnotateOptions`` in
            ``ovseg.options``, such as ``classes``, ``shape``, ``model``, ``segmenter``, ``device`` or
            ``presence_threshold``. Several words are one text with commas.

    Returns:
        A function of cvat-sdk. "detection", the default of ``function``, finds the objects of ``classes``;
        "interaction" makes a mask for points and a box; "tracking" follows a shape over images.

    Raises:
        MissingPackageError: cvat-sdk is not installed.
        OvsegError: a parameter is unknown or wrong, or a model cannot be loaded. Inside cvat-cli the error
            also has the class that cvat-cli prints on one line.

    >>> function = create(classes="sky; tree: tree, palm; not: poster", model="tiny", templates="plain")
    >>> [label.name for label in function.spec.labels]
    ['sky', 'tree']
    """
    try:
        return _create(parameters)
    except OvsegError as error:
        raise _for_cvat_cli(error) from None


def _create(parameters: dict[str, Parameter]) -> Detection | Interaction | Tracking:
    try:
        import_module("cvat_sdk.auto_annotation")
    except ImportError as error:
        raise MissingPackageError(f"CVAT functions need cvat-sdk ({error}): {extra('cvat')}") from None
    from ovseg.apps.cvat.detection import Detection
    from ovseg.apps.cvat.interaction import Interaction
    from ovseg.apps.cvat.tracking import Tracking

    kinds = (CvatOptions, AnnotateOptions)
    check_known(parameters, [name for kind in kinds for name in kind.names()])
    given = [{name: parameters[name] for name in kind.names() if name in parameters} for kind in kinds]
    chosen, options = CvatOptions.make(None, given[0]), AnnotateOptions.make(None, given[1])
    model = load_model(chosen.model, chosen.weights, method=chosen.method, options=chosen.loading)
    segmenter = None
    if options.task == "instances":
        segmenter = load_segmenter(chosen.segmenter, chosen.segmenter_weights, options=chosen.loading)
    if chosen.classes is not None:
        words = _words(chosen.classes)
        return Detection(model, segmenter, words, options, chosen.shape, chosen.attributes)
    if segmenter is None:
        raise UsageError(
            f"expected the task instances for the function {chosen.function}, got {options.task}"
        )
    kind = Interaction if chosen.function == "interaction" else Tracking
    return kind(model, segmenter, options)


def _words(given: str) -> Classes:
    """A class list on one line, with ";" for line breaks, or anything that ``read_classes`` accepts."""
    if ";" in given and not os.path.isfile(given):
        return parse_classes(given.replace(";", "\n"), "classes")
    return read_classes(given)


def _for_cvat_cli(error: OvsegError) -> OvsegError:
    """The error in a class that cvat-cli prints on one line; of others it prints the traceback."""
    critical = getattr(sys.modules.get("cvat_cli._internal.common"), "CriticalError", None)
    if critical is None:
        return error
    both: type[OvsegError] = type(type(error).__name__, (type(error), critical), {})
    return both(str(error))
