// Runs the model away from the page, so that the page stays alive. Messages: {start}, then {enlarge} for each image.
let session = null;
let ort = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.start) self.postMessage({ started: await start(data.start) });
    else self.postMessage({ id: data.id, ...(await enlarge(data.enlarge)) }, []);
  } catch (error) {
    self.postMessage({ id: data.id, problem: String((error && error.message) || error) });
  }
};

async function start({ loader, runtime, model, threads, wanted }) {
  // As data: a worker of a page without a server may import no other kind of address.
  ort = await import(`data:text/javascript;base64,${base64(loader)}`);
  ort.env.logLevel = 'error';
  ort.env.wasm.wasmBinary = runtime;
  ort.env.wasm.numThreads = threads;
  const tried = [];
  for (const provider of wanted) {
    try {
      if (provider === 'webgpu' && !(self.navigator.gpu && (await self.navigator.gpu.requestAdapter()))) continue;
      session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
      await run(new Float32Array(3 * 16 * 16).fill(0.5), 16, 16);  // compiles, and shows whether it works at all
      return { provider, threads: provider === 'wasm' ? threads : 0, tried };
    } catch (error) {
      session = null;
      tried.push(`${provider}: ${String((error && error.message) || error)}`);
    }
  }
  throw new Error(tried.join('; ') || 'this browser can run no model');
}

function base64(buffer) {
  const bytes = new Uint8Array(buffer), parts = [];
  for (let from = 0; from < bytes.length; from += 32768) parts.push(String.fromCharCode(...bytes.subarray(from, from + 32768)));
  return btoa(parts.join(''));
}

async function run(values, height, width) {
  const input = new ort.Tensor('float32', values, [1, 3, height, width]);
  const output = (await session.run({ input })).output;
  const result = output.getData ? await output.getData() : output.data;
  const copy = new Float32Array(result);
  input.dispose();
  output.dispose();
  return copy;
}

// RGBA bytes to RGBA bytes, whole where it fits, else in overlapping parts.
async function enlarge({ pixels, width, height, scale, side, overlap }) {
  const started = performance.now();
  const out = new Uint8ClampedArray(4 * width * height * scale * scale);
  const parts = whole(width, height, side) ? [[0, 0, width, height]] : tiles(width, height, side);
  for (const [number, [left, top, right, bottom]] of parts.entries()) {
    // What a part reads: itself and what surrounds it.
    const x0 = Math.max(left - overlap, 0), y0 = Math.max(top - overlap, 0);
    const x1 = Math.min(right + overlap, width), y1 = Math.min(bottom + overlap, height);
    const w = x1 - x0, h = y1 - y0;
    const values = new Float32Array(3 * w * h);
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const from = 4 * ((y + y0) * width + x + x0);
        for (let c = 0; c < 3; c++) values[c * w * h + y * w + x] = pixels[from + c] / 255;
      }
    }
    const result = await run(values, h, w);
    const W = w * scale, plane = W * h * scale;
    for (let y = top * scale; y < bottom * scale; y++) {
      for (let x = left * scale; x < right * scale; x++) {
        const from = (y - y0 * scale) * W + x - x0 * scale;
        const to = 4 * (y * width * scale + x);
        for (let c = 0; c < 3; c++) out[to + c] = Math.round(Math.min(Math.max(result[c * plane + from], 0), 1) * 255);
        out[to + 3] = 255;
      }
    }
    self.postMessage({ progress: (number + 1) / parts.length });
  }
  return { pixels: out, parts: parts.length, milliseconds: performance.now() - started };
}

function whole(width, height, side) {
  return width * height <= side * side;
}

function tiles(width, height, side) {
  const parts = [];
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      parts.push([left, top, Math.min(left + side, width), Math.min(top + side, height)]);
    }
  }
  return parts;
}
