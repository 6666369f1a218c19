// What a page needs of a .tflite file of keras_mlp besides LiteRT.js: its names, and how a picture becomes its input.

/** The texts in the zip archive behind a model, `{name: text}`; its members are stored, not compressed. */
export function entriesOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = {};
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) return entries;
  const count = view.getUint16(end + 10, true), length = view.getUint32(end + 12, true);
  const start = end - length - view.getUint32(end + 16, true);  // of the archive, if its offsets count from there
  let place = end - length;
  const decode = (from, size) => new TextDecoder().decode(bytes.subarray(from, from + size));
  for (let i = 0; i < count && view.getUint32(place, true) === 0x02014b50; i++) {
    const size = view.getUint32(place + 24, true), nameLength = view.getUint16(place + 28, true);
    const local = start + view.getUint32(place + 42, true);
    const content = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (view.getUint16(place + 10, true) === 0) entries[decode(place + 46, nameLength)] = decode(content, size);
    place += 46 + nameLength + view.getUint16(place + 30, true) + view.getUint16(place + 32, true);
  }
  return entries;
}

/** The names of the classes that the scores of `probabilitiesOf` are of. */
export function classesOf(entries, units, output) {
  const names = entries["labels.txt"]?.split("\n").filter((name) => name);
  return names ?? Array.from({ length: output?.kind === "binary" ? 2 : units }, (_, i) => `class ${i}`);
}

/** The pixels of an image, a video or a canvas as a model takes them: bytes or floats 0–255, red first. */
export function pixelsOf(source, input, { crop_pct = 0.875, squash = false }) {
  const [, height, width, channels] = input.shape;
  if (channels !== 3) throw new Error(`The model takes ${channels} channels, and this page gives 3.`);
  const from = [source.videoWidth ?? source.naturalWidth ?? source.width,
                source.videoHeight ?? source.naturalHeight ?? source.height];
  // The part of the picture that is seen: all of it, or the middle, of the model's proportions.
  const scale = Math.min(from[0] / width, from[1] / height) * crop_pct;
  const part = squash ? from : [width * scale, height * scale];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, (from[0] - part[0]) / 2, (from[1] - part[1]) / 2, ...part, 0, 0, width, height);
  const data = context.getImageData(0, 0, width, height).data;
  const pixels = input.dtype === "uint8" ? new Uint8Array(width * height * 3) : new Float32Array(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 4) {
    pixels[j++] = data[i];
    pixels[j++] = data[i + 1];
    pixels[j++] = data[i + 2];
  }
  return pixels;
}

/** Probabilities of what a model gave: for exclusive classes they sum to 1; of one binary unit there are two. */
export function probabilitiesOf(values, { kind = "exclusive", activation = "softmax" }) {
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  let scores = Array.from(values);
  if (activation === "linear") {
    if (kind === "exclusive") {
      const most = Math.max(...scores), powers = scores.map((score) => Math.exp(score - most));
      const sum = powers.reduce((a, b) => a + b);
      scores = powers.map((power) => power / sum);
    } else {
      scores = scores.map(sigmoid);
    }
  }
  return kind === "binary" ? [1 - scores[0], scores[0]] : scores;
}
