"""All cards in one file of JSON, for those who only want to read them."""

import dataclasses
import functools
import json
from importlib import resources

from keras_mlp.cards.card import ModelCard
from keras_mlp.cards.papers import Paper
from keras_mlp.cards.preprocessing import Preprocessing, VideoPreprocessing
from keras_mlp.cards.recipes import Recipe
from keras_mlp.cards.scores import Score
from keras_mlp.cards.weights import Weights

FILE = "cards.json"
"""All cards as `to_json` writes them, for those who only want to read them: the families that declare them need Keras,
whose import takes seconds. `python -m weights.tables` writes it, and a test compares."""


def to_json(cards: dict[str, ModelCard]) -> str:
    """All cards as text, a line a card."""
    lines = (f" {json.dumps(name)}: {json.dumps(_plain(cards[name]), ensure_ascii=False)}" for name in sorted(cards))
    return "{\n" + ",\n".join(lines) + "\n}\n"


@functools.cache
def from_file() -> dict[str, ModelCard]:
    """All cards by name, read from `FILE`."""
    text = resources.files("keras_mlp").joinpath(FILE).read_text(encoding="utf-8")
    return {name: _card(card) for name, card in json.loads(text).items()}


_CLASSES = {
    kind.__name__: kind for kind in (Preprocessing, VideoPreprocessing, Weights, Paper, Recipe, Score, ModelCard)
}


def _plain(value):
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"is": type(value).__name__} | fields
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [*map(_plain, value)] if isinstance(value, tuple) else value


def _card(value):
    if isinstance(value, dict):
        value = {key: _card(inner) for key, inner in value.items()}
        return _CLASSES[value.pop("is")](**value) if "is" in value else value
    return tuple(map(_card, value)) if isinstance(value, list) else value
