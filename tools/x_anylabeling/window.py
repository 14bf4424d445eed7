"""What a person does in X-AnyLabeling. It runs in the trial's environment, on an X display.

    python tools/x_anylabeling/window.py IMAGE URL TOKEN WORD X Y PICTURE

Opens an image with its labels, chooses the remote server, sends a word, clicks on an object and gives it a
name, then clicks beside it, which the server refuses, and sends a word after the server's token has changed.
Prints the labels of the image after each step as JSON, and keeps a picture of the window.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT = 120.0
"""Seconds for an answer."""
QUIET = 1.5
"""Seconds after which nothing more is expected to change."""


def main() -> None:
    image, url, token, word, x, y, picture = sys.argv[1:]
    from anylabeling import config as settings
    from anylabeling.config import get_config
    from anylabeling.resources import resources  # noqa: F401  # registers the configurations of models
    from anylabeling.views.mainwindow import MainWindow
    from PyQt6 import QtWidgets

    app = QtWidgets.QApplication(sys.argv[:1])
    file = Path(image).parent / "config.yaml"
    file.write_text(json.dumps({"remote_server_settings": {"server_url": url, "api_key": token}}))
    settings.current_config_file = str(file)
    window = MainWindow(app, config=get_config(str(file), {"auto_save": False}), filename=image)
    window.resize(1360, 800)
    window.show()
    steps = Steps(app, window)
    steps.until(lambda: steps.view.image_path, "the image")
    steps.note("opened")
    steps.choose_server()
    steps.send(word)
    steps.note("word")
    steps.click(float(x), float(y), steps.widget.button_add_point)
    steps.note("click")
    window.grab().save(picture)
    steps.finish("clicked")
    steps.note("named")
    steps.click(2, 2, steps.widget.button_remove_point)
    steps.note("refused")
    steps.widget.button_clear.click()
    steps.model.headers["Token"] = "another"
    steps.send(word)
    steps.note("error")
    print(json.dumps(steps.notes))


class Steps:
    """The window, and what is done in it.

    Attributes:
        notes: the labels of the image after each step.
    """

    def __init__(self, app: Any, window: Any) -> None:
        self._app = app
        self.view = window.labeling_widget.view
        self.widget = self.view.auto_labeling_widget
        self.notes: dict[str, list[str]] = {}

    @property
    def model(self) -> Any:
        """The client of the remote server."""
        return self.widget.model_manager.loaded_model_config["model"]

    def until(self, true: Callable[[], object], what: str) -> None:
        """Handle events until something is true."""
        end = time.monotonic() + WAIT
        while not true():
            self._app.processEvents()
            time.sleep(0.01)
            if time.monotonic() > end:
                raise SystemExit(f"waited for {what} in vain")

    def rest(self) -> None:
        """Handle events until the prediction has ended and nothing changes any more."""
        end = time.monotonic() + QUIET
        self.until(lambda: time.monotonic() > end and not self._is_busy(), "the end of a prediction")

    def _is_busy(self) -> bool:
        thread = self.widget.model_manager.model_execution_thread
        try:
            return thread is not None and bool(thread.isRunning())
        except RuntimeError:  # it has ended, and Qt has deleted it
            return False

    def note(self, step: str) -> None:
        """Keep the labels that the image has now."""
        self.notes[step] = sorted(str(shape.label) for shape in self.view.canvas.shapes)

    def choose_server(self) -> None:
        """Choose the remote server, whose dialog has the address and the token already."""
        from PyQt6 import QtCore, QtWidgets

        def accept() -> None:
            dialog = QtWidgets.QApplication.activeModalWidget()
            if isinstance(dialog, QtWidgets.QDialog):
                dialog.accept()
            else:
                QtCore.QTimer.singleShot(100, accept)

        self.view.toggle_auto_labeling_widget()
        name = next(one for one in self.widget.model_info if "remote_server" in one)
        QtCore.QTimer.singleShot(100, accept)
        self.widget.on_model_selected("Remote-Server", name)
        self.until(lambda: self.widget.remote_server_select_combobox.count(), "the list of models")

    def send(self, word: str) -> None:
        """Write a word and press Send."""
        self.until(self.widget.button_send.isEnabled, "the button Send")
        self.widget.edit_text.setText(word)
        self.widget.button_send.click()
        self.rest()

    def click(self, x: float, y: float, button: Any) -> None:
        """Choose the kind of a point and click with the mouse, in pixels of the image."""
        from PyQt6 import QtCore, QtTest

        self.until(button.isEnabled, "the buttons")
        button.click()
        canvas = self.view.canvas
        place = (QtCore.QPointF(x, y) + canvas.offset_to_center()) * canvas.scale
        QtTest.QTest.mouseMove(canvas, place.toPoint())
        self._app.processEvents()
        QtTest.QTest.mouseClick(canvas, QtCore.Qt.MouseButton.LeftButton, pos=place.toPoint())
        self.rest()

    def finish(self, name: str) -> None:
        """Finish the object, and give it a name in the dialog."""
        from PyQt6 import QtCore, QtWidgets

        def answer() -> None:
            dialog = QtWidgets.QApplication.activeModalWidget()
            if dialog is not None and hasattr(dialog, "edit"):
                dialog.edit.setText(name)
                dialog.accept()
            else:
                QtCore.QTimer.singleShot(100, answer)

        QtCore.QTimer.singleShot(100, answer)
        self.widget.button_finish_object.click()
        self.rest()


if __name__ == "__main__":
    main()
