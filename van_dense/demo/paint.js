// Draws a result on a canvas, and says what lies at a place of it. Nothing here asks the server.
//
// View: {threshold, opacity, lit}; lit is the position of what is highlighted, or null. Positions
// count objects, joints, or regions of a map. Places are in pixels of the original image.

const LABEL = "600 13px system-ui, sans-serif";

export async function unpack(map) {
  const bytes = Uint8Array.from(atob(map.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const plain = await new Response(stream).arrayBuffer();
  return map.bytes === 1 ? new Uint8Array(plain) : new Uint16Array(plain);
}

// Positions that the threshold leaves, of objects, joints or regions.
export function visible(result, view) {
  const from = (list, score) =>
    list.map((one, i) => [score(one), i]).filter(([s]) => s >= view.threshold).map(([, i]) => i);
  if (result.kind === "detection") return from(result.objects, (one) => one.score);
  if (result.kind === "panoptic") return from(result.regions, (one) => one.score);
  if (result.kind === "semantic") return result.regions.map((_, i) => i);
  if (result.kind === "pose") {
    const points = result.poses.length ? result.poses[0].points : [];
    return from(points, (point) => point[2]);
  }
  return [];
}

export function paint(canvas, result, view) {
  const pen = canvas.getContext("2d");
  const scale = canvas.width / result.width;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(result.picture, 0, 0, canvas.width, canvas.height);
  const fine = Math.max(1, canvas.width / (canvas.clientWidth || 800));
  if (result.map) paintMap(pen, canvas, result, view);
  if (result.kind === "detection") paintObjects(pen, result, view, scale, fine);
  if (result.kind === "pose") paintPoses(pen, result, view, scale, fine);
}

// ----------------------------------------------------------------------------------------- maps

function paintMap(pen, canvas, result, view) {
  const tint = document.createElement("canvas");
  [tint.width, tint.height] = [result.map.width, result.map.height];
  const image = new ImageData(tint.width, tint.height);
  const colors = new Uint32Array(image.data.buffer);
  const table = result.kind === "saliency" ? shades(view) : tints(result, view);
  const values = result.values;
  for (let i = 0; i < values.length; i++) colors[i] = table[values[i]];
  tint.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = result.kind === "saliency";
  pen.drawImage(tint, 0, 0, canvas.width, canvas.height);
}

// What is not salient is darkened: all of it below the threshold, at 0 as far as each pixel is.
function shades(view) {
  const table = new Uint32Array(256);
  for (let level = 0; level < 256; level++) {
    const salient = level / 255;
    const dark = view.threshold > 0 ? Number(salient < view.threshold) : 1 - salient;
    table[level] = rgba(12, 14, 20, Math.min(1, dark * view.opacity * 1.45));
  }
  return table;
}

function tints(result, view) {
  const table = new Uint32Array(result.regions.length + 1);
  for (const i of visible(result, view)) {
    const [r, g, b] = channels(result.regions[i].color);
    const strong = view.lit === null || view.lit === i;
    table[i + 1] = rgba(r, g, b, strong ? view.opacity + (view.lit === i ? 0.15 : 0) : view.opacity * 0.25);
  }
  return table;
}

function channels(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

const LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

function rgba(r, g, b, alpha) {
  const a = Math.round(Math.min(1, alpha) * 255);
  return LITTLE
    ? ((a << 24) | (b << 16) | (g << 8) | r) >>> 0
    : ((r << 24) | (g << 16) | (b << 8) | a) >>> 0;
}

// -------------------------------------------------------------------------------------- objects

function outline(one) {
  if (one.path) return one.path;
  one.path = new Path2D();
  for (const points of one.outlines) {
    one.path.moveTo(points[0], points[1]);
    for (let i = 2; i < points.length; i += 2) one.path.lineTo(points[i], points[i + 1]);
    one.path.closePath();
  }
  return one.path;
}

function paintObjects(pen, result, view, scale, fine) {
  // The surest are drawn last, above the others, and what is highlighted above all.
  const order = visible(result, view).sort(
    (a, b) => (a === view.lit) - (b === view.lit) || result.objects[a].score - result.objects[b].score,
  );
  for (const i of order) {
    const one = result.objects[i];
    const faint = view.lit !== null && view.lit !== i;
    pen.globalAlpha = faint ? 0.2 : 1;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    if (one.outlines && !faint) { // faint fills would add up to a strong one
      pen.globalAlpha = view.opacity;
      pen.fillStyle = one.color;
      pen.fill(outline(one), "evenodd");
      pen.globalAlpha = 1;
      pen.lineWidth = (1.5 * fine) / scale;
      pen.strokeStyle = one.color;
      pen.stroke(outline(one));
    }
    const [x0, y0, x1, y1] = one.box;
    pen.lineWidth = ((view.lit === i ? 4 : 2) * fine) / scale;
    pen.strokeStyle = one.color;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (faint) continue;
    label(pen, `${one.name} ${Math.round(one.score * 100)}%`, x0 * scale, y0 * scale, one, fine);
  }
  pen.globalAlpha = 1;
}

function label(pen, text, x, y, { color, ink }, fine) {
  pen.font = LABEL.replace("13", String(13 * fine));
  const wide = pen.measureText(text).width + 10 * fine;
  const high = 19 * fine;
  const left = Math.max(0, Math.min(x, pen.canvas.width - wide));
  const top = y >= high ? y - high : Math.max(0, y);
  pen.fillStyle = color;
  pen.beginPath();
  pen.roundRect(left, top, wide, high, 3 * fine);
  pen.fill();
  pen.fillStyle = ink;
  pen.textBaseline = "middle";
  pen.fillText(text, left + 5 * fine, top + high / 2 + fine / 2);
}

// ---------------------------------------------------------------------------------------- poses

function paintPoses(pen, result, view, scale, fine) {
  const shown = new Set(visible(result, view));
  const wide = Math.max(2, Math.min(6, pen.canvas.width / fine / 110)) * fine;
  pen.lineCap = "round";
  pen.globalAlpha = Math.min(1, view.opacity + 0.4);
  for (const { points } of result.poses) {
    const at = (i) => [points[i][0] * scale, points[i][1] * scale];
    const bones = result.bones.filter(({ ends }) => ends.every((i) => shown.has(i)));
    for (const rim of [true, false]) {
      for (const { ends, color } of bones) {
        pen.strokeStyle = rim ? "#000" : color;
        pen.lineWidth = rim ? wide + 2 * fine : wide;
        pen.beginPath();
        pen.moveTo(...at(ends[0]));
        pen.lineTo(...at(ends[1]));
        pen.stroke();
      }
    }
    for (const i of shown) {
      pen.beginPath();
      pen.arc(...at(i), wide * (view.lit === i ? 2 : 1.2), 0, 2 * Math.PI);
      pen.fillStyle = result.joints[i].color;
      pen.fill();
      pen.lineWidth = fine * (view.lit === i ? 3 : 1.5);
      pen.strokeStyle = view.lit === i ? "#fff" : "#000";
      pen.stroke();
    }
    if (shown.has(view.lit)) {
      const [x, y] = at(view.lit);
      label(pen, result.joints[view.lit].name, x + 2 * wide, y - wide, result.joints[view.lit], fine);
    }
  }
  pen.globalAlpha = 1;
}

// ------------------------------------------------------------------------------------- clicking

// Position of what lies at a place, or null. ``reach`` is how near a joint must be.
export function hit(canvas, result, view, x, y, reach) {
  if (result.kind === "detection") return hitObject(canvas, result, view, x, y);
  if (result.kind === "pose") {
    let [best, nearest] = [null, reach];
    for (const i of visible(result, view)) {
      const [px, py] = result.poses[0].points[i];
      const far = Math.hypot(px - x, py - y);
      if (far <= nearest) [best, nearest] = [i, far];
    }
    return best;
  }
  if (result.kind === "semantic" || result.kind === "panoptic") {
    const { width, height } = result.map;
    const column = Math.min(width - 1, Math.floor((x * width) / result.width));
    const row = Math.min(height - 1, Math.floor((y * height) / result.height));
    const position = result.values[row * width + column] - 1;
    return visible(result, view).includes(position) ? position : null;
  }
  return result.kind === "saliency" ? 0 : null;
}

// The smallest object whose mask, or else whose box, holds the place: large ones lie behind.
function hitObject(canvas, result, view, x, y) {
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const rank = (i) => {
    const { box, outlines } = result.objects[i];
    const [x0, y0, x1, y1] = box;
    const inMask = outlines && pen.isPointInPath(outline(result.objects[i]), x, y, "evenodd");
    const inBox = x >= x0 && x <= x1 && y >= y0 && y <= y1;
    if (!inMask && !inBox) return Infinity;
    return (x1 - x0) * (y1 - y0) + (inMask || !outlines ? 0 : 1e12);
  };
  const ranked = visible(result, view).map((i) => [rank(i), i]).sort((a, b) => a[0] - b[0]);
  return ranked.length && ranked[0][0] < Infinity ? ranked[0][1] : null;
}
