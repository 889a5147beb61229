'use strict';
const at = (id) => document.getElementById(id);
const settings = JSON.parse(at('settings').textContent);
const { scale, side, overlap } = settings;
const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
let name = 'image', busy = false, runsOn = '', next = null;

function say(text, problem = false) {
  at('status').textContent = text;
  at('status').classList.toggle('problem', problem);
}

// --- the parts that are inside this file: base64, and gzip where large ---
async function bytesOf(id) {
  const element = at(id), text = element.textContent.trim();
  element.remove();
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  if (!(packed[0] === 0x1f && packed[1] === 0x8b)) return packed.buffer;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

const address = (content) => URL.createObjectURL(new Blob([content], { type: 'text/javascript' }));
const worker = new Worker(address(at('worker').textContent));
const waiting = new Map();
let number = 0;

function ask(message, transfer = []) {
  const id = ++number;
  return new Promise((done, failed) => {
    waiting.set(id, { done, failed });
    worker.postMessage({ id, ...message }, transfer);
  });
}

const started = new Promise((done, failed) => {
  worker.onerror = (event) => failed(new Error(event.message || 'the worker did not start'));
  worker.onmessage = ({ data }) => {
    if (data.progress !== undefined) { at('progress').value = data.progress; return; }
    if (data.started) { done(data.started); return; }
    const asked = waiting.get(data.id);
    if (!asked) { failed(new Error(data.problem)); return; }
    waiting.delete(data.id);
    if (data.problem) asked.failed(new Error(data.problem)); else asked.done(data);
  };
});

async function start() {
  try {
    const [runtime, model, loader] = await Promise.all(['runtime', 'model', 'loader'].map(bytesOf));
    worker.postMessage({ start: { runtime, model, loader, threads, wanted: settings.providers } });
    const { provider, threads: used } = await started;
    runsOn = provider === 'webgpu' ? 'WebGPU' : `WebAssembly, ${used} thread${used === 1 ? '' : 's'}`;
    document.body.dataset.provider = provider;
    say(`Ready (${runsOn}).`);
    open(next);
  } catch (error) {
    say(`This browser cannot run the model: ${error.message}`, true);
  }
}

// --- images ---
async function open(file) {
  if (!file) return;
  // What comes before the model is there, or while it computes, waits: the last one of several.
  if (busy || !runsOn) { next = file; return; }
  busy = true;
  next = null;
  try {
    say('Reading…');
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
    } catch {
      throw new Error(`${file.name || 'what was pasted'} is no image that this browser reads.`);
    }
    name = (file.name || 'image').replace(/\.[^.]*$/, '');
    const { width, height } = bitmap;
    const small = new OffscreenCanvas(width, height);
    const context = small.getContext('2d', { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    at('progress').hidden = false;
    at('progress').value = 0;
    say(`Enlarging ${width} × ${height} to ${width * scale} × ${height * scale}…`);
    const result = await ask({ enlarge: { pixels: data, width, height, scale, side, overlap } });
    show(small, data, result, width, height);
    const seconds = (result.milliseconds / 1000).toFixed(1);
    const note = result.parts > 1 ? ` In ${result.parts} parts: the network saw each with its surroundings, not the whole.` : '';
    say(`${width} × ${height} to ${width * scale} × ${height * scale} in ${seconds} s (${runsOn}).${note}`);
    document.body.dataset.done = String(number);
  } catch (error) {
    say(error.message, true);
  } finally {
    at('progress').hidden = true;
    busy = false;
    open(next);
  }
}

function show(small, data, result, width, height) {
  const after = at('after'), before = at('before');
  for (const canvas of [after, before]) { canvas.width = width * scale; canvas.height = height * scale; }
  const plain = before.getContext('2d');
  plain.imageSmoothingQuality = 'high';
  plain.drawImage(small, 0, 0, before.width, before.height);
  // Opacity is enlarged by the browser, the colours by the network.
  if (data.some((value, index) => index % 4 === 3 && value < 255)) {
    const opacity = plain.getImageData(0, 0, before.width, before.height).data;
    for (let index = 3; index < opacity.length; index += 4) result.pixels[index] = opacity[index];
  }
  after.getContext('2d').putImageData(new ImageData(result.pixels, after.width, after.height), 0, 0);
  at('result').hidden = false;
  slide();
}

function slide() {
  const canvas = at('after'), share = at('slider').value / 1000;
  const { offsetWidth: width, offsetHeight: height } = canvas;
  at('slider').style.width = `${width}px`;
  at('slider').style.height = at('line').style.height = `${height}px`;
  at('line').style.left = `${share * width}px`;
  at('before').style.clipPath = `inset(0 ${100 - share * 100}% 0 0)`;
}

at('slider').addEventListener('input', slide);
addEventListener('resize', slide);
at('fit').addEventListener('click', () => {
  const actual = at('view').classList.toggle('actual');
  at('fit').textContent = actual ? 'Fit to the page' : 'Actual size';
  slide();
});
at('save').addEventListener('click', () => {
  at('after').toBlob((blob) => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${name}_x${scale}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }, 'image/png');
});
at('file').addEventListener('change', () => { open(at('file').files[0]); at('file').value = ''; });
at('drop').addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') at('file').click(); });
addEventListener('paste', (event) => open([...event.clipboardData.files][0]));
for (const kind of ['dragenter', 'dragover']) {
  addEventListener(kind, (event) => { event.preventDefault(); at('drop').classList.add('over'); });
}
addEventListener('dragleave', (event) => { if (!event.relatedTarget) at('drop').classList.remove('over'); });
addEventListener('drop', (event) => {
  event.preventDefault();
  at('drop').classList.remove('over');
  open([...event.dataTransfer.files][0]);
});
start();
