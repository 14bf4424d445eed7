"""One class: a frozen CLIP with one method, and the engine that streams images through it."""
