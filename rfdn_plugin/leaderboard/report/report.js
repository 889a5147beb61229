'use strict';

// Sorting: a click on a heading sorts its table's rows by the cells' data-value; published rows stay below measured ones.
for (const table of document.querySelectorAll('table.sortable')) {
  const headings = [...table.querySelectorAll('th[data-column]')];
  for (const heading of headings) {
    heading.querySelector('button').addEventListener('click', () => {
      const column = Number(heading.dataset.column);
      const ascending = heading.getAttribute('aria-sort') === 'descending' || (!heading.hasAttribute('aria-sort') && heading.dataset.first === 'ascending');
      headings.forEach((other) => other.removeAttribute('aria-sort'));
      heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
      const value = (row) => row.cells[column].dataset.value ?? '';
      const compare = (a, b) => {
        const group = Number(a.classList.contains('published')) - Number(b.classList.contains('published'));
        const [left, right] = [value(a), value(b)];
        if (group || left === '' || right === '') return group || Number(left === '') - Number(right === '');
        const order = column === 0 ? left.localeCompare(right) : Number(left) - Number(right);
        return ascending ? order : -order;
      };
      const body = table.tBodies[0];
      [...body.rows].sort(compare).forEach((row) => body.append(row));
    });
  }
}

// Plots of quality against cost: one drawing for each set, of which the chosen one is shown.
for (const select of document.querySelectorAll('select.set-choice')) {
  const show = () => {
    for (const plots of document.querySelectorAll(`[data-plots="${select.dataset.scale}"]`)) {
      plots.hidden = plots.dataset.set !== select.value;
    }
  };
  select.addEventListener('change', show);
  show();
}

// The scatter over images: PSNR of one entry against how much better or worse another one is.
const scores = JSON.parse(document.getElementById('scores').textContent);
for (const holder of document.querySelectorAll('.scatter')) {
  const scale = holder.dataset.scale;
  const [set, first, second] = ['set', 'first', 'second'].map((name) => holder.querySelector(`select[name=${name}]`));
  const draw = () => {
    const a = scores[scale][set.value]?.[first.value] ?? {};
    const b = scores[scale][set.value]?.[second.value] ?? {};
    const points = Object.keys(a).filter((name) => a[name] !== null && (b[name] ?? null) !== null).map((name) => ({ name, x: a[name], y: b[name] - a[name] }));
    holder.querySelector('.drawing').replaceChildren(...(points.length ? [drawing(points, first.value, second.value)] : []));
    const mean = points.reduce((sum, point) => sum + point.y, 0) / Math.max(points.length, 1);
    const above = points.filter((point) => point.y > 0).length;
    holder.querySelector('output').textContent = points.length
      ? `${second.value} is better on ${above} of ${points.length} images, by ${mean.toFixed(3)} dB in the mean.`
      : 'No image that both have.';
  };
  [set, first, second].forEach((select) => select.addEventListener('change', draw));
  draw();
}

function drawing(points, first, second) {
  const [width, height, left, right, top, bottom] = [520, 320, 68, 14, 12, 46];
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const range = (values, least) => {
    const padding = Math.max((Math.max(...values) - Math.min(...values)) * 0.08, least);
    return [Math.min(...values) - padding, Math.max(...values) + padding];
  };
  const [x0, x1] = range(xs, 0.2);
  const [y0, y1] = range([0, ...ys], 0.02);
  const px = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0)) * (height - top - bottom);
  const svg = element('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${second} against ${first} for each image` });
  for (const [low, high, horizontal] of [[x0, x1, true], [y0, y1, false]]) {
    const step = niceStep((high - low) / 6);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
      const at = horizontal ? px(value) : py(value);
      const line = horizontal ? { x1: at, x2: at, y1: top, y2: height - bottom } : { x1: left, x2: width - right, y1: at, y2: at };
      svg.append(element('line', { ...line, class: 'grid' }));
      const place = horizontal ? { x: at, y: height - bottom + 17, 'text-anchor': 'middle' } : { x: left - 7, y: at + 4, 'text-anchor': 'end' };
      svg.append(element('text', place, (Math.abs(value) < step / 2 ? 0 : value).toFixed(decimals)));
    }
  }
  svg.append(element('line', { x1: left, x2: width - right, y1: py(0), y2: py(0), class: 'zero-line' }));
  for (const point of points) {
    const circle = element('circle', { cx: px(point.x), cy: py(point.y), r: 4.5, class: 'image' });
    circle.append(element('title', {}, `${point.name}: ${point.x.toFixed(2)} dB, ${point.y >= 0 ? '+' : ''}${point.y.toFixed(3)} dB`));
    svg.append(circle);
  }
  svg.append(element('text', { x: (left + width - right) / 2, y: height - 8, 'text-anchor': 'middle' }, `PSNR-Y of ${first} (dB)`));
  svg.append(element('text', { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' }, 'second − first (dB)'));
  return svg;
}

function element(name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function niceStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
}
