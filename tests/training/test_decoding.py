"""Every place that reads images sees the same: predict, training, evaluation, exported graphs, the mobile example."""

import importlib.util
import io
import pathlib
import struct
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mlp import export
from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.cli import images as for_predict
from keras_mlp.training import data
from keras_mlp.training.data import decoding

SIZE = (24, 16)  # of pictures, width and height
WHOLE = Preprocessing(squash=True, interpolation="bilinear")
TIFF_LIKE = ("tiff", "webp")
LOSSY = 12  # how far a JPEG's pixels may be from the picture's


def picture():
    """A picture that each turn and each mirror changes: its quarters are of different colours."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), "uint8")
    pixels[:8, :12], pixels[:8, 12:], pixels[8:, :12], pixels[8:, 12:] = (230, 20, 20), (20, 200, 20), (20, 20, 180), 90
    return Image.fromarray(pixels)


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def lossless(form):
    return {"jpeg": dict(quality=100, subsampling=0), "webp": dict(lossless=True, exact=True)}.get(form, {})


def oriented(form, orientation):
    """A file that a viewer turns until it shows `picture()`."""
    stored = [
        *(None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE),
        Image.Transpose.ROTATE_270,
    ][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture() if stored is None else picture().transpose(stored)
    return encoded(image, form, exif=exif, **lossless(form))


def png_of_sixteen_bits(channels):
    high = np.asarray(picture()).astype("uint16")[..., :channels]
    return tf.io.encode_png(high * 256 + 255).numpy()  # what is below the upper eight bits plays no role


def kinds():
    """Files by name, each with the pixels that a viewer shows."""
    plain, grey = picture(), picture().convert("L")
    colour, light = np.asarray(plain), np.repeat(np.asarray(grey)[..., np.newaxis], 3, axis=-1)
    with_alpha = plain.copy()
    with_alpha.putalpha(Image.fromarray(np.tile(np.arange(24, dtype="uint8") * 10, (16, 1))))
    indexed = plain.quantize(8)
    reds = np.stack([colour[..., 0]] * 3, axis=-1)
    film = dict(save_all=True, append_images=[plain.rotate(180), grey.convert("RGB")])
    found = {f"{form} {i}": (oriented(form, i), colour) for form in ("jpeg", "png", *TIFF_LIKE) for i in range(1, 9)}
    for form in ("jpeg", "png", "gif", "bmp", "tiff", "webp"):
        found[f"plain {form}"] = encoded(plain, form, **lossless(form)), colour
        if form != "webp":
            found[f"grey {form}"] = encoded(grey, form, **lossless(form)), light
    for form in ("png", "gif", "bmp", "tiff"):
        found[f"palette {form}"] = encoded(indexed, form), colour
        black = picture().convert("1", dither=Image.Dither.NONE)
        found[f"1 bit {form}"] = encoded(black, form), np.asarray(black.convert("RGB"))
    for form in ("png", "gif"):
        found[f"palette with transparency {form}"] = encoded(indexed, form, transparency=7), colour
    for form in ("png", "tiff", "webp"):
        found[f"alpha {form}"] = encoded(with_alpha, form, **lossless(form)), colour
    for form in ("png", "tiff"):
        found[f"grey with alpha {form}"] = encoded(grey.convert("LA"), form), light
        deep = Image.fromarray(np.asarray(grey).astype("uint16") * 256 + 255)
        found[f"16 bits grey {form}"] = encoded(deep, form), light
    found["16 bits png"] = png_of_sixteen_bits(3), colour
    found["16 bits with alpha png"] = png_of_sixteen_bits(1), reds
    for form in ("jpeg", "tiff"):
        found[f"cmyk {form}"] = encoded(plain.convert("CMYK"), form, **lossless(form)), colour
    found["progressive jpeg"] = encoded(plain, "jpeg", progressive=True, **lossless("jpeg")), colour
    for form in ("png", "gif", "webp", "tiff"):
        found[f"animated {form}"] = encoded(plain, form, **film, **lossless(form)), colour
    return found


KINDS = kinds()
# What a graph without Python refuses, and does not read wrong.
NOT_IN_GRAPHS = {
    *(name for name in KINDS if "tiff" in name or name.startswith("webp ")),
    *("palette bmp", "1 bit bmp", "grey bmp", "animated webp"),
}


def same(found, expected, name):
    found = np.asarray(found, "float64")
    lossy = "jpeg" in name
    assert found.shape == expected.shape, name
    np.testing.assert_allclose(found, expected, atol=LOSSY if lossy else 0, err_msg=name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One class folder with all of `KINDS`, in their order."""
    folder = tmp_path_factory.mktemp("kinds") / "all"
    folder.mkdir()
    for i, (name, (content, _)) in enumerate(KINDS.items()):
        (folder / f"{i:03} {name}.{name.split()[0]}".replace("webp ", "")).with_suffix(".png").write_bytes(content)
    return folder.parent


def test_python_and_tf_data_decode_all_alike():
    decode = tf.function(decoding.pixels, input_signature=[tf.TensorSpec((), tf.string)])
    for name, (content, expected) in KINDS.items():
        found = decoding.decode(content)
        assert found.dtype == np.uint8
        same(found, expected, name)
        np.testing.assert_array_equal(decode(tf.constant(content)), found, err_msg=name)


def test_predict_training_and_evaluation_see_the_same(folder):
    options = dict(image_size=(SIZE[1], SIZE[0]), batch_size=len(KINDS))
    plain = Recipe(source="test", horizontal_flip=False, random_resized_crop=None)
    evaluated = data.load(folder, "all", preprocessing=WHOLE, **options)
    ((pixels, _),) = evaluated.dataset
    assert len(pixels) == len(KINDS) and not evaluated.broken
    for name, (_, expected), found, file in zip(
        KINDS, KINDS.values(), pixels, sorted((folder / "all").iterdir()), strict=True
    ):
        same(found, expected, name)
        seen = for_predict.read(file, (SIZE[1], SIZE[0], 3), WHOLE)
        np.testing.assert_allclose(seen, found, atol=1e-3, err_msg=name)
    trained = data.load(folder, "all", recipe=plain, **options)
    ((shuffled, _),) = trained.dataset.take(1)
    assert not trained.broken
    remaining = [np.asarray(image) for image in pixels]
    for image in shuffled.numpy():
        distances = [np.abs(image - other).max() for other in remaining]
        assert min(distances) < 1e-3
        remaining.pop(int(np.argmin(distances)))


def test_a_saved_model_sees_the_same_or_refuses(tmp_path):
    """A model that gives the mean of each quarter of the picture."""
    inputs = keras.Input((SIZE[1], SIZE[0], 3))
    quarters = keras.layers.Flatten()(keras.layers.AveragePooling2D((8, 12))(inputs))
    model = keras.Model(inputs, quarters)
    export.to_saved_model(model, tmp_path / "model", WHOLE, max_pixels=1000)
    served = tf.saved_model.load(tmp_path / "model").signatures["encoded_images"]
    for name, (content, expected) in KINDS.items():
        if name in NOT_IN_GRAPHS:
            with pytest.raises(tf.errors.InvalidArgumentError):
                served(encoded_images=tf.constant([content]))
            continue
        (found,) = served(encoded_images=tf.constant([content]))["outputs"].numpy()
        means = expected.reshape(2, 8, 2, 12, 3).mean((1, 3)).ravel()
        np.testing.assert_allclose(found, means, atol=LOSSY if "jpeg" in name else 1e-3, err_msg=name)
    for form in ("jpeg", "png", "gif", "bmp", "webp"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more pixels than the limit"):
            served(encoded_images=tf.constant([encoded(Image.new("RGB", (40, 26)), form)]))


def test_the_mobile_example_sees_the_same(tmp_path):
    path = pathlib.Path(__file__).parents[2] / "examples" / "mobile" / "classify.py"
    spec = importlib.util.spec_from_file_location("classify", path)
    classify = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(classify)
    for name, (content, expected) in KINDS.items():
        (tmp_path / "picture").write_bytes(content)
        same(np.asarray(classify.decode(tmp_path / "picture")), expected, name)


# Sizes


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def declaring(form, side):
    """A small file whose header declares a square of so many pixels a side."""
    if form == "png":
        return png_header(side, side)
    content = bytearray(encoded(picture(), form, **lossless(form)))
    place, packed = {
        "jpeg": (content.find(b"\xff\xc0") + 5, struct.pack(">HH", side, side)),
        "gif": (6, struct.pack("<HH", side, side)),
        "bmp": (18, struct.pack("<ii", side, -side)),
    }[form]
    content[place : place + len(packed)] = packed
    return bytes(content)


def test_what_declares_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    declared = [declaring(form, side) for form in ("jpeg", "png", "gif", "bmp") for side in (12_000, 16_000)]
    for decode in map(tf.function, (decoding.pixels, decoding.pixels_in_graph)):
        for content in map(tf.constant, declared):
            with pytest.raises(tf.errors.OpError, match="pixels.* the limit"):
                decode(content)
    for name in ("_by_tensorflow", "_by_pillow"):  # neither is reached, in Python
        monkeypatch.setattr(decoding, name, None)
    for content in declared:
        with pytest.raises(ValueError, match="pixels.* the limit of 89,478,485"):
            decoding.decode(content)


def test_the_limit_is_an_argument_everywhere(folder):
    (content, _), many = KINDS["plain png"], SIZE[0] * SIZE[1]
    assert decoding.decode(content, many).shape == (SIZE[1], SIZE[0], 3)
    with pytest.raises(ValueError, match="24×16 pixels, more than the limit of 383"):
        decoding.decode(content, many - 1)
    limited = data.load(folder, "all", image_size=8, batch_size=8, max_pixels=many - 1, broken_share=1.0)
    assert not list(limited.dataset) and len(limited.broken) == len(KINDS)
    with pytest.raises(ValueError, match="`max_pixels` should be in 1–178956970"):
        data.load(folder, "all", image_size=8, batch_size=8, max_pixels=10**9)


@pytest.mark.parametrize("form", ["jpeg", "png", "gif", "bmp", "tiff", "webp"])
def test_what_is_cut_off_is_broken_and_says_so(form):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8"))
    content = encoded(noise, form)
    for length in (3, 12, 30, len(content) // 2):
        with pytest.raises(ValueError, match="a broken image|not an image"):
            decoding.decode(content[:length])


def test_what_is_no_image_says_so():
    for content in (b"", b"this is text", b"RIFF1234AVI LIST", bytes(100), b"\x7fELF" + bytes(50)):
        with pytest.raises(ValueError, match="not an image"):
            decoding.decode(content)
    with pytest.raises(ValueError, match="32 bits a pixel"):
        decoding.decode(encoded(Image.new("F", (4, 4)), "tiff"))


@pytest.mark.parametrize("value", [0, 9, 255])
def test_an_orientation_that_is_none_turns_nothing(value):
    exif = Image.Exif()
    exif[0x0112] = value
    decode = tf.function(decoding.pixels_in_graph, input_signature=[tf.TensorSpec((), tf.string)])
    for form in ("jpeg", "png"):
        content = encoded(picture(), form, exif=exif, **lossless(form))
        same(decoding.decode(content), np.asarray(picture()), form)
        same(decode(tf.constant(content)), np.asarray(picture()), form)
