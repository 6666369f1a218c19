"""The analyses of `keras-mlp analyze`: each draws into a folder and gives the rows of its table.

Each is called with the models by name, the flags and the folder; `costs` and `complexity` with names alone.
"""

import contextlib
import csv
import dataclasses
import fnmatch
import pathlib
import tempfile

import numpy as np

from keras_mlp import files
from keras_mlp.cli import console, datasets, images, models, videos
from keras_mlp.cli.commands import benchmark

PHOTOS, CLIPS = "photos", "moving_digits"
"""What `--images` calls the photographs that scikit-learn ships, and clips of the embedded digits."""


def _receptive_field(opened, flags, output):
    from keras_mlp import analysis

    fields = {}
    for name, model in opened.items():
        fields[name] = {}
        chosen = _milestones(model) if flags.layer is None else [flags.layer]
        for layer in console.progress(chosen, f"Receptive fields of {name}", total=len(chosen)):
            size = models.input_shape(model)[:2]
            fields[name][layer] = analysis.receptive_field(model, layer, image_size=size, statistics=flags.statistics)
    return _drawn_fields(fields, output / "receptive_field.png", shares=())


def _effective_field(opened, flags, output):
    from keras_mlp import analysis
    from keras_mlp.analysis.receptive_field import SHARES

    fields = {}
    for name, model in opened.items():
        pixels, fields[name] = _pixels(name, model, flags), {}
        for layer in _milestones(model) if flags.layer is None else [flags.layer]:
            fields[name][layer] = analysis.effective_receptive_field(
                model,
                pixels,
                layer,
                progress=lambda batch, n=name, at=layer: console.progress(batch, f"{n}, {at}", total=len(batch)),
            )
    return _drawn_fields(fields, output / "effective_field.png", SHARES)


def _drawn_fields(fields, path, shares):
    from keras_mlp import analysis

    analysis.plot_receptive_fields(fields, path)
    return [
        {"model": name, "block": layer}
        | ({} if shares else {"shape": field.shape, "reached": field.reached})
        | {f"{100 * share:g} % within": f"{field.square(share)[0]} px" for share in shares}
        | {f"{100 * share:g} % of area": field.square(share)[1] for share in shares}
        for name, blocks in fields.items()
        for layer, field in blocks.items()
    ]


def _similarity(opened, flags, output):
    from keras_mlp import analysis

    (name, model), *rest = opened.items()
    other_name, other = rest[0] if rest else (name, None)
    pixels = _pixels(name, model, flags)
    found = analysis.similarity(
        model, pixels, other, progress=lambda batches: console.progress(batches, "Comparing", total=len(batches))
    )
    analysis.plot_similarity(found, output / "similarity.png", (name, other_name))
    return [
        {"block": block, "most alike": found.columns[int(values.argmax())]}
        | {column: round(float(value), 6) for column, value in zip(found.columns, values, strict=True)}
        for block, values in zip(found.rows, found.values, strict=True)
    ]


def _robustness(opened, flags, output):
    from keras_mlp import analysis

    found = {}
    for name, model in opened.items():
        pixels, labels = _labelled(name, model, flags)
        found[name] = analysis.robustness(
            model,
            pixels,
            labels,
            progress=lambda steps, title=name: console.progress(steps, title, total=len(steps)),
        )
    analysis.plot_robustness(found, output / "robustness.png")
    return [{"model": name} | dataclasses.asdict(step) for name, steps in found.items() for step in steps]


def _attribution(opened, flags, output):
    from keras_mlp import analysis

    rows, taken = [], set()
    for name, model in opened.items():
        classes = models.class_names(name, flags.weights, model.output_shape[-1])
        stem = pathlib.Path(name).stem
        for number, pixels in enumerate(_pixels(name, model, flags)):
            label = int(model.predict(pixels[None], verbose=0)[0].argmax()) if flags.label is None else flags.label
            heats = {"Grad-CAM": analysis.grad_cam(model, pixels, label, flags.layer)}
            title = f"{stem}, image {number}"
            heats["occlusion"] = analysis.occlusion(
                model, pixels, label, progress=lambda batches, t=title: console.progress(batches, t, total=len(batches))
            )
            picture = f"{images.free_name(f'attribution_{stem}_{number}', taken)}.png"
            analysis.plot_attribution(pixels, heats, output / picture)
            peak = np.unravel_index(heats["occlusion"].argmax(), heats["occlusion"].shape)
            rows.append(
                {"model": name, "image": number, "class": classes[label][1], "picture": picture}
                | {"largest_fall": float(heats["occlusion"].max()), "at": [int(side) for side in peak]}
            )
    return rows


def _mixing(opened, flags, output):
    from keras_mlp.analysis.mixing import plot_token_mixing

    rows, taken = [], set()
    for name, model in opened.items():
        picture = f"{images.free_name(f'mixing_{pathlib.Path(name).stem}', taken)}.png"
        plot_token_mixing(model, output / picture, flags.layer, image=_first(name, model, flags))
        rows.append({"model": name, "picture": picture})
    return rows


def _first(name, model, flags):
    """The first image or clip to look at; `None` where no photograph is shipped, as those have colours."""
    shape = models.input_shape(model)
    if models.kind_of_input(shape) == "video":
        resizing = models.preprocessing(name, flags.weights)
        return videos.sample(flags.images or CLIPS, 1, shape, resizing, flags.max_pixels)[0]
    return _pixels(name, model, flags)[0] if flags.images or shape[-1] == 3 else None


def _resolution(opened, flags, output):
    from keras_mlp import analysis

    data, found = flags.images or "digits", {}
    for name, model in opened.items():
        own = models.input_shape(model)[:2]
        sizes = [models.parse_size([side], "sizes") for side in flags.sizes or ()]
        labels = None if data == PHOTOS else _labelled(name, model, flags, own, data)[1]
        found[name] = analysis.resolution(
            model,
            lambda size, n=name, m=model: _labelled(n, m, flags, size, data)[0],
            sizes or _other_sizes(model, own),
            labels,
            _ways(name, model, own),
            tune=_fine_tuning(data, flags) if flags.epochs else None,
            progress=lambda steps, title=name: console.progress(steps, title, total=len(steps)),
        )
    analysis.plot_resolution(found, output / "resolution.png")
    return [{"model": name} | dataclasses.asdict(one) for name, results in found.items() for one in results]


def _other_sizes(model, own) -> list[tuple[int, int]]:
    """The own size times 0.5 to 2, as far as the model takes it."""
    import keras_mlp

    found = []
    for eighths in (4, 6, 8, 10, 12, 16):
        size = tuple(side * eighths // 8 for side in own)
        with contextlib.suppress(ValueError):
            keras_mlp.resize(model, size)
            found.append(size)
    return found


def _ways(name, model, own) -> dict:
    """The ways to other sizes that the model allows; one that it does not is told."""
    from keras_mlp.analysis.resolution import resize_maps, ways_for

    ways = ways_for(model)
    try:
        resize_maps(model, own)
    except ValueError as error:
        console.error(f"{name}: no maps are resized. {error}")
        return {title: way for title, way in ways.items() if way is not resize_maps}
    return ways


def _fine_tuning(data, flags):
    """Trains a model at a size on the training part of the data, at a tenth of the rate of the digits' recipe."""
    from keras_mlp.training import recipes, train

    recipe = recipes.digits() if data == "digits" else recipes.finetune()
    rate = recipe.learning_rate / 10 if data == "digits" else recipe.learning_rate
    recipe = dataclasses.replace(recipe, epochs=flags.epochs, warmup_epochs=0.5, learning_rate=rate, precision=None)

    def tune(model, size):
        options = dict(image_size=size, batch_size=recipe.batch_size, recipe=recipe, channels=model.input_shape[-1])
        images = datasets.load(data, "train", max_pixels=flags.max_pixels, **options)
        with tempfile.TemporaryDirectory() as folder:
            train.fit(model, images, None, recipe, folder, verbose=0)

    return tune


def _matching(patterns) -> list[str]:
    """The names of the models that any of the patterns fits."""
    from keras_mlp import cards

    known = cards.from_file()
    found = list(dict.fromkeys(name for pattern in patterns for name in cards.find(known, pattern, input="image")))
    if not found:
        raise ValueError(f"No model of images matches {' '.join(patterns)}.")
    return found


def _costs(names, flags, output):
    from keras_mlp import analysis

    measured = {}
    if flags.measure:
        for name in console.progress(names, "Measuring", total=len(names)):
            measured[name] = _measured(name, flags.measure)
    found = analysis.published(names, measured)
    analysis.plot_costs(found, output / "costs.html", output / "costs.png")
    return [
        {name: value for name, value in dataclasses.asdict(model).items() if name != "costs"} | model.costs
        for model in found
    ]


def _measured(name, what) -> dict[str, float]:
    """Costs of a model on this machine, by keys of `cost_and_score.TITLES`."""
    from keras_mlp import export

    model, found = models.open_model(name, "none", None), {}
    if "keras" in what:
        image = np.random.default_rng(0).uniform(0, 255, (1, *models.input_shape(model))).astype("float32")
        found["images_per_second"] = 1 / float(np.median(benchmark.seconds(model, image, runs=20)))
    if "tflite" in what:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            export.to_tflite(model, path, "float32")
            (timing,) = export.time_tflite(path, threads=(1,), runs=20)
        found |= {"tflite_ms": timing.median_ms, "tflite_megabytes": timing.size_bytes / 1e6}
        found["tflite_memory"] = timing.peak_bytes / 1e6
    return found


def _families(patterns) -> list[str]:
    """The names of the families that declare their token mixing and that any of the patterns fits; without one, all."""
    from keras_mlp.analysis.survey import declared

    known = declared()
    found = [name for name in known if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not found:
        raise ValueError(
            f"No family of {' '.join(patterns)} declares its token mixing. Those that do: {', '.join(known)}."
        )
    return found


def _complexity(families, flags, output):
    from keras_mlp import analysis

    found = analysis.survey(families, lambda names: console.progress(names, "Measuring", total=len(names)))
    analysis.plot_complexity({row.title: row.complexity for row in found}, output / "complexity.png")
    rows = [row.cells() for row in found]
    with (
        files.atomic_path(output / "complexity.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"differences": " ".join(row["differences"])} for row in rows)
    return rows


WHAT = {
    "receptive_field": _receptive_field,
    "effective_field": _effective_field,
    "similarity": _similarity,
    "robustness": _robustness,
    "attribution": _attribution,
    "mixing": _mixing,
    "resolution": _resolution,
    "complexity": _complexity,
    "costs": _costs,
}
"""The analyses by name."""
BY_NAME = {"complexity": _families, "costs": _matching}
"""Those that open no model: which names the words of the command stand for."""


def _milestones(model) -> list[str]:
    """The first block, the last of each stage, and the last map."""
    from keras_mlp import names
    from keras_mlp.analysis import inner

    known = list(inner.maps(model).output)
    blocks = [name for name in known if (place := names.parse(name)) and place.part == "block"]
    last_of_stage = {names.parse(name).numbers[:-1]: name for name in blocks}
    chosen = {*blocks[:1], *last_of_stage.values(), known[-1]}
    return [name for name in known if name in chosen]


def _pixels(name, model, flags, size=None) -> np.ndarray:
    """The images to look at, as the model takes them or in another size."""
    from keras_mlp.analysis.photos import photos

    *own, channels = models.input_shape(model)
    shape, given = (*(size or own), channels), flags.images or PHOTOS
    if given == PHOTOS:
        if channels != 3:
            raise ValueError(f"{name} takes images of {channels} channels. Name a folder or data set by --images.")
        return photos(flags.count, shape[:2])
    resizing = models.preprocessing(name, flags.weights)
    if pathlib.Path(given).is_file():
        return images.views(pathlib.Path(given), shape, resizing, flags.max_pixels)
    return images.sample(given, flags.count, shape, resizing, flags.max_pixels)


def _labelled(name, model, flags, size=None, given=None):
    """Images, in another size if one is given, and the numbers of their classes, where something tells them."""
    given = given or flags.images or PHOTOS
    path = pathlib.Path(given)
    plain = path.is_dir() and not any(child.is_dir() for child in path.iterdir())
    if given == PHOTOS or path.is_file() or plain:
        return _pixels(name, model, flags, size), None
    *own, channels = models.input_shape(model)
    resizing, shape = models.preprocessing(name, flags.weights), (*(size or own), channels)
    pixels, labels, classes = images.labelled_sample(given, flags.count, shape, resizing, max_pixels=flags.max_pixels)
    if len(classes) != model.output_shape[-1]:
        raise ValueError(
            f"{name} tells {model.output_shape[-1]} classes apart, and {given} has {len(classes)}. Name images of its "
            f"classes by --images, or {PHOTOS}, which need none."
        )
    return pixels, labels.argmax(-1)
