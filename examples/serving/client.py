"""Ask the server of `server.py` what is in photos.

python examples/serving/client.py http://127.0.0.1:8000 photos/cat.jpg …
"""

import base64
import json
import pathlib
import sys
import urllib.request


def classify(url: str, path: str) -> dict:
    """`{"classes": […], "scores": […]}` of an image file, best first."""
    image = base64.b64encode(pathlib.Path(path).read_bytes()).decode()
    request = urllib.request.Request(
        f"{url}/predict", json.dumps({"image": image}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


if __name__ == "__main__":
    url, *paths = sys.argv[1:]
    for path in paths:
        answer = classify(url, path)
        print(path, *(f"{name} {score:.3f}" for name, score in zip(*answer.values(), strict=True)), sep="  ")
