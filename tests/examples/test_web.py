"""Exported files in a web page, in headless Chromium: by LiteRT.js in the example's page, by ONNX Runtime Web.

`apt-get install chromium` and `npm install` in `examples/web` and in `tests/examples` bring what it
takes; `.ci/run` does.
"""

import contextlib
import functools
import http.server
import json
import pathlib
import queue
import shutil
import subprocess

import keras
import loopback
import numpy as np
import pytest
from flowers import CLASSES

from keras_mlp import export

WEB = pathlib.Path(__file__).parents[2] / "examples" / "web"
ORT = pathlib.Path(__file__).parent / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WHOLE = {"model": "flowers", "preprocessing": {"squash": True}}

pytestmark = pytest.mark.skipif(
    not CHROMIUM or not (WEB / "node_modules").is_dir() or not (ORT / "onnxruntime-web").is_dir(),
    reason="needs Chromium, and `npm install` in examples/web and tests/examples",
)

HARNESS = """<!DOCTYPE html><meta charset="utf-8">
<script type="module">
const send = (name, told) => fetch("/report", { method: "POST", body: JSON.stringify({ name, ...told }) });
for (const [name, address, click] of [
  ["float", "/index.html?model=float.tflite&photo=photo.png"],
  ["bytes", "/index.html?model=bytes.tflite&photo=photo.png"],
  ["camera", "/index.html?model=float.tflite", true],
  ["missing", "/index.html?model=none.tflite"],
]) {
  const frame = document.createElement("iframe");
  frame.src = address;
  document.body.append(frame);
  let clicked = false;
  const timer = setInterval(() => {
    const page = frame.contentDocument, text = (id) => page?.getElementById(id)?.textContent ?? "";
    const classes = [...(page?.querySelectorAll("#classes li") ?? [])].map((item) => item.textContent.trim());
    if (click && !clicked && text("status").includes("Choose a photo")) {
      clicked = true;
      page.getElementById("camera").click();
    }
    if (!classes.length && !text("error")) return;
    clearInterval(timer);
    send(name, { classes, status: text("status"), error: text("error") });
    frame.remove();
  }, 100);
}
try {
  const ort = await import("/ort/onnxruntime-web/dist/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = "/ort/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create("/model.onnx");
  const pixels = new Float32Array(await (await fetch("/pixels.bin")).arrayBuffer());
  const { scores } = await session.run({ image: new ort.Tensor("float32", pixels, [2, 32, 32, 3]) });
  send("onnx", { inputs: session.inputNames, outputs: session.outputNames, scores: [...scores.data] });
} catch (error) {
  send("onnx", { error: String(error) });
}
</script>"""


PIXELS = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype="uint8")


@pytest.fixture(scope="module")
def reports(flowers, tmp_path_factory):
    """What the pages showed, by their names."""
    folder = tmp_path_factory.mktemp("web")
    for name in ("index.html", "classify.js"):
        shutil.copy(WEB / name, folder)
    (folder / "node_modules").symlink_to(WEB / "node_modules")
    (folder / "ort").symlink_to(ORT)
    (folder / "test.html").write_text(HARNESS)
    told = dict(classes=CLASSES, metadata=WHOLE)
    export.to_tflite(flowers, folder / "float.tflite", **told)
    export.to_tflite(flowers, folder / "bytes.tflite", "dynamic_int8", input_dtype="uint8", **told)
    export.to_onnx(flowers, folder / "model.onnx", classes=CLASSES)
    keras.utils.save_img(folder / "photo.png", PIXELS[0], scale=False)
    (folder / "pixels.bin").write_bytes(PIXELS.astype("<f4").tobytes())
    with served(folder) as (address, found), browser(f"{address}/test.html", folder / "profile"):
        told = [found.get(timeout=120) for _ in range(5)]
    return {report.pop("name"): report for report in told}


@contextlib.contextmanager
def served(folder):
    """The folder on loopback; what pages send to /report is put into the queue."""
    found = queue.Queue()

    class Handler(loopback.Silent, http.server.SimpleHTTPRequestHandler):
        def do_POST(self):
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    Handler.extensions_map = Handler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}
    with loopback.running(loopback.Server(functools.partial(Handler, directory=str(folder)))) as server:
        yield server.url, found


@contextlib.contextmanager
def browser(address, profile):
    """Chromium at an address, with a camera that shows a test pattern."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    command = [CHROMIUM, *options, *camera, address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "margin"), [("float", 0.1), ("bytes", 2.0)])
def test_the_page_classifies_a_photo_as_the_model_does(flowers, reports, name, margin):
    shown = reports[name]
    assert shown["error"] == "" and "ms on this device's CPU" in shown["status"]
    percents = {text.split(" % ")[1]: float(text.split(" % ")[0]) for text in shown["classes"]}
    expected = 100 * flowers.predict(PIXELS[:1].astype("float32"), verbose=0)[0]
    assert set(percents) == set(CLASSES) and list(percents.values()) == sorted(percents.values(), reverse=True)
    np.testing.assert_allclose([percents[name] for name in CLASSES], expected, atol=margin)


@pytest.mark.slow
def test_the_page_classifies_the_camera_and_tells_what_is_missing(reports):
    assert len(reports["camera"]["classes"]) == 4 and reports["camera"]["error"] == ""
    assert "none.tflite cannot be fetched: 404" in reports["missing"]["error"]


@pytest.mark.slow
def test_onnx_runtime_web_computes_like_the_model(flowers, reports):
    shown = reports["onnx"]
    assert "error" not in shown, shown["error"]
    assert (shown["inputs"], shown["outputs"]) == (["image"], ["scores"])
    expected = flowers.predict(PIXELS.astype("float32"), verbose=0)
    np.testing.assert_allclose(np.reshape(shown["scores"], (2, 4)), expected, atol=1e-5)
