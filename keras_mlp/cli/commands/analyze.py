"""Look into models, and compare what they see: pictures, and the numbers behind them.

WHAT is one of:

receptive_field: the pixels that can reach the centre of a map at all, after the first block, each stage and the last.

effective_field: how much each pixel counts for it, over real images, and the square that holds 20, 30, 50 and 99 %.

similarity: how alike the blocks of a model are to each other, or to those of a second model (linear CKA).

robustness: the class that a model sees in images that were compressed, blurred, made noisy or dark, cropped and
rotated, in steps.

attribution: where a classifier looks on the images of --images (Grad-CAM and occlusion).

mixing: the weights of token mixing as pictures, of models that mix all positions by one MLP.

costs: what models cost against their published accuracy, as costs.html, which is one interactive file, and costs.png.
MODEL may be a pattern here, as of `keras-mlp list`. --measure times the models on this machine, too.

MODEL is a name (`keras-mlp list`) or a .keras file. OUTPUT gets WHAT.png, and WHAT.json with the numbers; for several
images or models of which each has a picture of its own, one picture each.

When the output is not a terminal, the numbers are written as one JSON object a line, too.
"""

import json
import pathlib
import tempfile

import numpy as np
from absl import flags as absl_flags

from keras_mlp import files
from keras_mlp.cli import console, datasets, images, models
from keras_mlp.cli.commands import benchmark

ARGUMENTS = "WHAT MODEL..."
PHOTOS = "photos"


def define_flags(flags):
    absl_flags.DEFINE_string("output", None, "Folder for pictures and numbers. Required.", flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_string(
        "images",
        PHOTOS,
        'What is looked at: a file, a folder, or a data set. "photos" are crops of the photographs that scikit-learn '
        "ships. Robustness measures accuracy on a data set, and on a folder of one folder for each class.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("count", 32, "Images to look at, at most.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_string("layer", None, "Block or layer to look at, such as stages_0_0.", flag_values=flags)
    absl_flags.DEFINE_integer(
        "label", None, "For attribution: number of the class; by default the first.", flag_values=flags
    )
    absl_flags.DEFINE_bool(
        "statistics",
        False,
        "For receptive_field: count averages over the whole map, in norms and gates, as connections.",
        flag_values=flags,
    )
    absl_flags.DEFINE_multi_enum(
        "measure",
        [],
        ("keras", "tflite"),
        "For costs: what is measured on this machine, with random weights: images a second in Keras; or milliseconds, "
        "size and memory of .tflite files. May be given twice.",
        flag_values=flags,
    )
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    if not arguments or arguments[0] not in WHAT:
        raise console.UsageError(
            f"WHAT must be one of {', '.join(WHAT)}. Received: {arguments[0] if arguments else ''}"
        )
    what, *names = arguments
    if not names:
        raise console.UsageError("which model?")
    console.require(flags, "output")
    if what == "similarity" and len(names) > 2:
        raise console.UsageError("similarity compares one model with itself, or two")
    if len(set(names)) < len(names):
        raise console.UsageError("a model is named twice")
    if what == "costs":
        opened = _matching(names)
    else:
        opened = {name: models.open_model(name, flags.weights, flags.image_size) for name in names}
        for name, model in opened.items():
            models.refuse_videos(name, models.input_shape(model))
    output = pathlib.Path(flags.output)
    output.mkdir(parents=True, exist_ok=True)
    rows = WHAT[what](opened, flags, output)
    with files.atomic_path(output / f"{what}.json") as temporary:
        pathlib.Path(temporary).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if flags.json or not console.for_a_person():
        for row in rows:
            console.print_json(row)
    else:
        print(console.table([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]))
        print(f"\nPictures and numbers are in {output}.")


def _cell(value):
    return f"{value:.3g}" if isinstance(value, float) else value


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
    import dataclasses

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

    rows = []
    for name, model in opened.items():
        picture = f"mixing_{pathlib.Path(name).stem}.png"
        plot_token_mixing(model, output / picture, flags.layer)
        rows.append({"model": name, "picture": picture})
    return rows


def _matching(patterns) -> list[str]:
    """The names of the models that any of the patterns fits."""
    from keras_mlp import cards

    known = cards.from_file()
    found = list(dict.fromkeys(name for pattern in patterns for name in cards.find(known, pattern, input="image")))
    if not found:
        raise ValueError(f"No model of images matches {' '.join(patterns)}.")
    return found


def _costs(names, flags, output):
    import dataclasses

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


WHAT = {
    "receptive_field": _receptive_field,
    "effective_field": _effective_field,
    "similarity": _similarity,
    "robustness": _robustness,
    "attribution": _attribution,
    "mixing": _mixing,
    "costs": _costs,
}


def _milestones(model) -> list[str]:
    """The first block, the last of each stage, and the last map."""
    from keras_mlp import names
    from keras_mlp.analysis import inner

    known = list(inner.maps(model).output)
    blocks = [name for name in known if (place := names.parse(name)) and place.part == "block"]
    last_of_stage = {names.parse(name).numbers[:-1]: name for name in blocks}
    chosen = {*blocks[:1], *last_of_stage.values(), known[-1]}
    return [name for name in known if name in chosen]


def _pixels(name, model, flags) -> np.ndarray:
    """The images to look at, as the model takes them."""
    from keras_mlp.analysis.photos import photos

    shape = models.input_shape(model)
    if flags.images == PHOTOS:
        if shape[-1] != 3:
            raise ValueError(f"{name} takes images of {shape[-1]} channels. Name a folder or data set by --images.")
        return photos(flags.count, shape[:2])
    resizing = models.preprocessing(name, flags.weights)
    if pathlib.Path(flags.images).is_file():
        return images.views(pathlib.Path(flags.images), shape, resizing, flags.max_pixels)
    return images.sample(flags.images, flags.count, shape, resizing, flags.max_pixels)


def _labelled(name, model, flags):
    """Images and the numbers of their classes; without these where nothing tells them."""
    path = pathlib.Path(flags.images)
    plain = path.is_dir() and not any(child.is_dir() for child in path.iterdir())
    if flags.images == PHOTOS or path.is_file() or plain:
        return _pixels(name, model, flags), None
    resizing, shape = models.preprocessing(name, flags.weights), models.input_shape(model)
    pixels, labels, classes = images.labelled_sample(
        flags.images, flags.count, shape, resizing, max_pixels=flags.max_pixels
    )
    if len(classes) != model.output_shape[-1]:
        raise ValueError(f"{name} tells {model.output_shape[-1]} classes apart, and {flags.images} has {len(classes)}.")
    return pixels, labels.argmax(-1)
