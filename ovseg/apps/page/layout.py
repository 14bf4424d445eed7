"""The page itself: Gradio's components, and which of the session's methods each of them calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gradio as gr

from ovseg.apps.page.drawing import MASKS, SHOWN, draw_view
from ovseg.apps.page.html import counted, hint, listed, message, progress_bar, word_cards
from ovseg.apps.page.screen import place_in_picture
from ovseg.apps.page.session import PageSession
from ovseg.errors import OvsegError, UsageError, one_line
from ovseg.files.paths import shown
from ovseg.options import FORMATS

ON, BESIDE = "Click adds", "Click removes"
SIDES = (ON, BESIDE)
STYLE = Path(__file__).with_name("page.css")
CHOOSE = """
element.addEventListener('click', event => {
  const card = event.target.closest('[data-word]');
  if (card) trigger('click', {word: Number(card.dataset.word)});
});
"""
"""Tells which card was clicked; gr.HTML alone would only tell that one was."""


class Page:
    """Gradio's side of a session: builds the components and answers their events.

    Args:
        session: what the page works on.
        may_open: let the page's user open any folder of this machine.
    """

    def __init__(self, session: PageSession, may_open: bool = True) -> None:
        self.session = session
        with gr.Blocks(title="ovseg", analytics_enabled=False, fill_width=True) as self.blocks:
            self._build(may_open)

    # ------------------------------------------------------------------------------ components

    def _build(self, may_open: bool) -> None:
        self.token = gr.State("")
        with gr.Row(elem_id="ov-head"):
            self._head(may_open)
        with gr.Row():
            with gr.Column(scale=9, min_width=480):
                self._photo()
            with gr.Column(scale=5, min_width=320):
                self._words()
        self.outputs = [self.token, self.progress, self.line, self.picture, self.words, self.cards]
        self._connect()

    def _head(self, may_open: bool) -> None:
        gr.HTML("<h1>ovseg</h1><p>Words into masks</p>", min_width=150)
        self.folder: gr.Textbox | None = None  # a component that is hidden could be called all the same
        if may_open:
            self.folder = gr.Textbox(
                placeholder="Folder of photos on this computer",
                max_lines=1,
                show_label=False,
                container=False,
                scale=3,
                elem_id="ov-folder",
            )
            self.opened = gr.Button("Open folder", scale=0, min_width=130, elem_id="ov-open")
        self.files = gr.UploadButton(
            "Add photos", file_count="multiple", type="filepath", scale=0, min_width=130, elem_id="ov-add"
        )

    def _photo(self) -> None:
        """The photo with its masks, and what is done with it as a whole."""
        self.progress = gr.HTML(elem_id="ov-where")
        with gr.Row(elem_classes="ov-tools"):
            self.what = gr.Radio(SHOWN, value=MASKS, container=False, elem_id="ov-show")
            self.side = gr.Radio(SIDES, value=ON, container=False, elem_id="ov-side")
            self.undo = gr.Button("Undo", size="sm", scale=0, min_width=70, elem_id="ov-undo")
            self.leave = gr.Button("Leave word out", size="sm", scale=0, min_width=130, elem_id="ov-leave")
        self.line = gr.HTML(elem_id="ov-line")
        self.picture = gr.Image(
            show_label=False,
            interactive=False,
            format="jpeg",
            buttons=["fullscreen"],
            alt_text="The photo with its masks",
            elem_id="ov-picture",
        )
        with gr.Row(elem_classes="ov-tools"):
            self.back = gr.Button("Back", scale=0, min_width=80, elem_id="ov-back")
            self.forth = gr.Button("Next", scale=0, min_width=80, elem_id="ov-forth")
            self.skip = gr.Button("Skip photo", min_width=110, elem_id="ov-skip")
            self.accept = gr.Button(
                "Accept masks", variant="primary", scale=2, min_width=160, elem_id="ov-accept"
            )

    def _words(self) -> None:
        """The words, what was found of each, and the export."""
        self.words = gr.Textbox(
            label="Words",
            placeholder="sky, tree, building",
            info="With commas, or one class a line, such as car: car, automobile",
            max_lines=8,
            elem_id="ov-words",
        )
        self.find = gr.Button("Find words", variant="primary", elem_id="ov-find")
        self.cards = gr.HTML(elem_id="ov-list", js_on_load=CHOOSE)
        with gr.Accordion("Export what was accepted", open=False, elem_id="ov-export"):
            self.formats = gr.CheckboxGroup(
                FORMATS, value=["coco"], show_label=False, container=False, elem_id="ov-formats"
            )
            self.export = gr.Button("Write label files", elem_id="ov-write")

    def _connect(self) -> None:
        """What each event does to the session."""
        session = self.session
        self._on(self.blocks.load, lambda: None, fresh=True)
        if self.folder is not None:
            self._on(self.opened.click, self._open, self.folder, fresh=True)
            self._on(self.folder.submit, self._open, self.folder, fresh=True)
        self._on(self.files.upload, self._upload, self.files, fresh=True)
        self._on(self.find.click, self._find, self.words)
        self._on(self.words.submit, self._find, self.words)
        self._on(self.picture.select, self._click, self.side, with_place=True)
        self._on(self.cards.click, self._choose, with_place=True)
        self._on(self.undo.click, session.undo)
        self._on(self.leave.click, session.leave_out)
        self._on(self.back.click, lambda: session.move(-1))
        self._on(self.forth.click, lambda: session.move(1))
        self._on(self.skip.click, self._skip)
        self._on(self.accept.click, self._accept)
        self._on(self.export.click, self._export, self.formats)
        self._on(self.what.change, lambda: None)

    def _on(
        self,
        event: Callable[..., object],
        change: Callable[..., str | None],
        value: gr.components.Component | None = None,
        *,
        fresh: bool = False,
        with_place: bool = False,
    ) -> None:
        """Let an event change the session, and show how things are then.

        Args:
            event: of a component.
            change: does it; gives a line to be shown.
            value: the component whose value ``change`` gets.
            fresh: whatever this tab showed before does not matter, and the words are filled in.
            with_place: ``change`` also gets where the event was.
        """

        def run(token: str, what: str, *given: object) -> list[object]:
            return self._after(lambda: change(*given), None if fresh else token, what)

        def run_at(event: gr.EventData, token: str, what: str, *given: object) -> list[object]:
            return self._after(lambda: change(*given, event), token, what)

        inputs = [self.token, self.what, *([] if value is None else [value])]
        event(
            run_at if with_place else run,
            inputs,
            self.outputs,
            show_progress="minimal",
            show_progress_on=self.picture,
            trigger_mode="multiple" if with_place else "once",
            api_visibility="private",
        )

    # ---------------------------------------------------------------------------------- events

    def _after(self, change: Callable[[], str | None], token: str | None, what: str) -> list[object]:
        """Make a change where this tab shows how things are; what the page's components then hold."""
        fresh, is_error = token is None, False
        try:
            if token is not None and token != self.session.key:
                fresh = True
                raise UsageError("another tab of this page has gone on; this is how things are now")
            line = change() or ""
        except OvsegError as error:
            line, is_error = one_line(error), True
        except MemoryError:
            line, is_error = "not enough memory", True
        except Exception as error:  # a line for the user, whatever it was
            line, is_error = f"unexpected {type(error).__name__}: {one_line(error)}", True
        return self._shown(line, is_error, what, fresh)

    def _shown(self, line: str, is_error: bool, what: str, fresh: bool) -> list[object]:
        """The value of each of ``outputs``."""
        try:
            view = self.session.view()
            picture, cards = draw_view(view, what), word_cards(view)
        except Exception as error:  # a picture that the models cannot take must not close the page
            view = replace(self.session.view(with_answers=False), problem=one_line(error))
            picture, cards = draw_view(view, what), ""
        if view.problem is not None and not is_error:
            line, is_error = view.problem, True
        words = view.words if fresh else gr.skip()
        said = message(line, is_error) if line else hint(view)
        return [self.session.key, progress_bar(view), said, picture, words, cards]

    def _open(self, place: str) -> str:
        lines = self.session.open_folder(place)
        return "; ".join(lines)

    def _upload(self, files: list[str] | None) -> None:
        self.session.upload(files or [])

    def _find(self, words: str) -> str:
        self.session.set_words(words)
        answers = self.session.view().answers
        found = [one.word for one in answers if one.found]
        if not answers:
            return ""
        return f"Found {listed(found)}" if found else "None of the words is in this photo"

    def _click(self, side: str, event: gr.EventData) -> None:
        picture = self.session.view().picture
        if picture is None:
            raise UsageError("expected a photo first")
        across, down = event.index
        x, y = place_in_picture(across, down, (picture.shape[0], picture.shape[1]))
        self.session.click(x, y, side == ON)

    def _choose(self, event: gr.EventData) -> None:
        answers = self.session.view().answers
        if not isinstance(event.word, int) or not 0 <= event.word < len(answers):
            raise UsageError("expected one of the words")
        self.session.choose(answers[event.word].word)

    def _skip(self) -> str:
        name = self.session.view().name
        self.session.skip()
        return self._decided(f"{name} skipped")

    def _accept(self) -> str:
        name = self.session.view().name
        self.session.accept()
        return self._decided(f"{name} accepted")

    def _decided(self, what: str) -> str:
        view = self.session.view()
        if view.accepted + view.skipped < view.total:
            return what
        return f"{what}. Every photo is decided: write the label files under Export"

    def _export(self, formats: list[str]) -> str:
        outcome = self.session.export(formats)
        photos = counted(outcome.done + outcome.before, "photo")
        masks = counted(sum(outcome.masks.values()), "mask")
        place = shown(self.session.photos.out.absolute())
        line = f"{photos} with {masks} written to {place}: {listed(list(outcome.formats))}"
        old = self.session.photos.leftovers()
        if old:
            line += f". Older label files of photos that you skipped since are still there: {listed(old)}"
        return line
