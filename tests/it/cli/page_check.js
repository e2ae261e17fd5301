'use strict';
// Stands at the end of a page under test, does what a reader does, and leaves what it saw in the page.
(() => {
  const seen = { errors: window.seenErrors, title: document.title, scripts: document.scripts.length, texts: {}, drawn: Math.round(performance.now()) };
  const canvas = document.getElementById('heat'), output = document.getElementById('cell');
  const size = JSON.parse(document.getElementById('data').textContent).maps[0].size;
  const hover = (row, column) => {
    const box = canvas.getBoundingClientRect(), at = (cell, length) => (cell + 0.5) / size * length;
    canvas.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + at(column, box.width), clientY: box.top + at(row, box.height) }));
    return output.textContent;
  };
  const choose = (id, value) => {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event('change'));
  };
  const colour = (map, row, column) => {
    const at = (cell) => Math.floor((cell + 0.4) / size * map.width);
    return [...map.getContext('2d').getImageData(at(column), at(row), 1, 1).data.slice(0, 3)];
  };
  for (const order of ['name', 'cluster', 'gap']) {
    choose('order', order);
    seen.texts[order] = [];
    for (let row = 0; row < Math.min(size, 8); row++) for (let column = 0; column < Math.min(size, 8); column++) seen.texts[order].push(hover(row, column));
  }
  choose('order', 'name');
  seen.colours = [];
  seen.gaps = [];
  for (let row = 0; row < Math.min(size, 8); row++) for (let column = 0; column < Math.min(size, 8); column++) {
    seen.colours.push(colour(canvas, row, column));
    seen.gaps.push(colour(document.getElementById('asym'), row, column));
  }
  canvas.focus();
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown']) canvas.dispatchEvent(new KeyboardEvent('keydown', { key }));
  seen.keys = output.textContent;
  choose('which', 'untargeted');
  seen.errorsMap = hover(0, 1);
  seen.width = window.innerWidth;
  seen.scroll = document.documentElement.scrollWidth;
  seen.verdict = Math.max(...[...document.querySelectorAll('#verdict td, #verdict caption')].map((cell) => Math.floor(cell.getBoundingClientRect().right)));
  seen.dark = window.matchMedia('(prefers-color-scheme: dark)').matches;
  seen.paper = getComputedStyle(document.body).backgroundColor;
  seen.fetched = performance.getEntriesByType('resource').map((entry) => entry.name).filter((name) => !name.startsWith('data:'));
  seen.unnamed = [...document.querySelectorAll('canvas, img, svg:not([aria-hidden])')].filter((element) => !element.getAttribute('aria-label') && !element.getAttribute('aria-labelledby') && !element.getAttribute('alt')).length;
  const result = document.createElement('pre');
  result.id = 'seen';
  result.textContent = encodeURIComponent(JSON.stringify(seen));
  document.body.append(result);
})();
