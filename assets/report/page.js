'use strict';
// The two maps: counts to colours, and a cell to words. Everything else of the page works without this script.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const byId = (id) => document.getElementById(id);
  if (!data.maps.length) return;
  const which = byId('which'), order = byId('order'), output = byId('cell');
  const canvases = { heat: byId('heat'), asym: byId('asym') };
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  byId('controls').hidden = false;

  // Cividis (Nuñez, Anderton and Renslow 2018) in seven steps, and blue to orange through the paper's colour:
  // both keep their order for readers who do not see red or green.
  const RISING = [[0, 32, 77], [37, 57, 110], [83, 87, 109], [124, 123, 120], [166, 157, 117], [213, 195, 96], [255, 234, 70]];
  const BACK = [[5, 48, 97], [67, 147, 195]], THERE = [[179, 88, 6], [241, 163, 64]];

  const mix = (a, b, part) => a.map((value, at) => Math.round(value + (b[at] - value) * part));
  const css = (colour) => `rgb(${colour.join(',')})`;
  const rising = (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (RISING.length - 1), low = Math.min(Math.floor(at), RISING.length - 2);
    return mix(RISING[low], RISING[low + 1], at - low);
  };
  const diverging = (value) => {
    const middle = dark.matches ? [29, 34, 40] : [247, 247, 247];
    const side = value < 0 ? BACK : THERE, size = Math.min(Math.abs(value), 1);
    // On dark ground the end of a scale is its light colour: the dark one would look like the middle.
    if (dark.matches) return mix(middle, side[1], size);
    return size < 0.5 ? mix(middle, side[1], size * 2) : mix(side[1], side[0], size * 2 - 1);
  };

  let map, cells, view, cursor = null, sums;
  const select = () => {
    map = data.maps.find((one) => one.key === which.value);
    view = map.orders[order.value];
    cells = map.cells.all || map.cells[order.value];
    cursor = null;
    total();
  };
  // Hits and tries of a cell of the map as it is sorted.
  const cell = (row, column) => {
    const whole = map.block === 1;
    const from = whole ? view[row] : row, to = whole ? view[column] : column;
    const at = from * map.size + to;
    const tries = cells.tries.length !== map.size ? cells.tries[at] : from === to ? cells.own[from] : cells.tries[from];
    return [cells.hits[at], tries];
  };
  const own = (row, column) => map.block === 1 && row === column;
  const rate = (row, column) => { const [hits, tries] = cell(row, column); return tries ? hits / tries : null; };
  const gap = (row, column) => {
    const there = rate(row, column), back = rate(column, row);
    return there === null || back === null ? null : there - back;
  };
  const total = () => {
    sums = { rows: new Array(map.size).fill(0), columns: new Array(map.size).fill(0), most: 0, gap: 0 };
    for (let row = 0; row < map.size; row++) for (let column = 0; column < map.size; column++) {
      if (own(row, column)) continue;
      const hits = cell(row, column)[0];
      sums.rows[row] += hits;
      sums.columns[column] += hits;
      sums.most = Math.max(sums.most, rate(row, column) || 0);
      sums.gap = Math.max(sums.gap, Math.abs(gap(row, column) || 0));
    }
    // A scale that a handful of small rates cannot stretch to nothing.
    sums.most = Math.max(sums.most, 0.01);
    sums.gap = Math.max(sums.gap, 0.01);
  };

  // Wilson's interval of 95 %, as everywhere in syfar.
  const interval = (hits, tries) => {
    const z = 1.959963984540054, share = hits / tries, below = 1 + z * z / tries;
    const centre = (share + z * z / (2 * tries)) / below;
    const half = z * Math.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries)) / below;
    return [hits === 0 ? 0 : Math.max(0, centre - half), hits === tries ? 1 : Math.min(1, centre + half)];
  };
  const name = (place) => {
    if (map.block === 1) return data.classes[view[place]];
    const first = place * map.block, last = Math.min(first + map.block, data.classes.length) - 1;
    return `${data.classes[view[first]]} … ${data.classes[view[last]]}`;
  };
  const three = (value) => value.toFixed(3);
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const sentence = (row, column) => {
    const [hits, tries] = cell(row, column), verb = map.key === 'targeted' ? 'attacks succeeded' : 'pictures taken for it';
    if (!tries) return 'not tried';
    const [low, high] = interval(hits, tries);
    return `${hits} of ${tries} ${verb} (${three(hits / tries)}, 95 % interval ${three(low)} to ${three(high)})`;
  };
  const describe = (row, column) => {
    const isolate = (text) => `\u2068${text}\u2069`, title = `${isolate(name(row))} → ${isolate(name(column))}`;
    if (own(row, column)) {
      const [hits, tries] = cell(row, column);
      return map.key === 'targeted' ? `${title}: its own class` : `${title}: ${hits} of ${tries} recognised`;
    }
    const hits = cell(row, column)[0], there = gap(row, column);
    const shares = [];
    if (sums.rows[row]) shares.push(`${percent(hits / sums.rows[row])} of all from the row`);
    if (sums.columns[column]) shares.push(`${percent(hits / sums.columns[column])} of all into the column`);
    let text = `${title}: ${sentence(row, column)}.`;
    if (shares.length) text += ` That is ${shares.join(' and ')}.`;
    text += ` Back: ${sentence(column, row)}.`;
    if (there !== null) {
      text += ` Difference ${three(there)}`;
      if (map.floor !== null) text += Math.abs(there) > map.floor ? `, above the ${three(map.floor)} that the largest gap has by chance on average` : `, no more than the ${three(map.floor)} that the largest gap has by chance on average`;
      text += '.';
    }
    return text;
  };

  const HATCH = () => (dark.matches ? [44, 50, 58] : [222, 226, 230]);
  const colour = (kind, row, column) => {
    if (own(row, column)) return HATCH();
    const value = kind === 'heat' ? rate(row, column) : gap(row, column);
    if (value === null) return HATCH();
    if (kind === 'heat') return rising(value / sums.most);
    const shown = diverging(value / sums.gap);
    // Below the floor a difference is faint: it is no more than chance shows somewhere, on average.
    return map.floor !== null && Math.abs(value) <= map.floor ? mix(diverging(0), shown, 0.35) : shown;
  };
  const draw = (kind) => {
    const canvas = canvases[kind], context = canvas.getContext('2d');
    const side = Math.max(map.size, Math.floor(1120 / map.size) * map.size);
    canvas.width = canvas.height = side;
    const step = side / map.size, gap = step >= 12 ? 1 : 0;
    context.fillStyle = dark.matches ? '#14171b' : '#ffffff';
    context.fillRect(0, 0, side, side);
    for (let row = 0; row < map.size; row++) for (let column = 0; column < map.size; column++) {
      context.fillStyle = css(colour(kind, row, column));
      context.fillRect(column * step, row * step, step - gap, step - gap);
    }
    if (cursor) {
      const [row, column] = cursor, edge = Math.max(3, side / 260);
      context.lineWidth = 2 * edge;
      context.strokeStyle = '#000000';
      context.strokeRect(column * step, row * step, step, step);
      context.lineWidth = edge;
      context.strokeStyle = '#ffffff';
      context.strokeRect(column * step, row * step, step, step);
    }
  };
  const scale = (id, colours, labels) => {
    const place = byId(id), ramp = document.createElement('div'), ends = document.createElement('div');
    ramp.className = 'ramp';
    ramp.style.background = `linear-gradient(to right, ${colours.map(css).join(',')})`;
    ends.className = 'ends';
    for (const label of labels) ends.append(Object.assign(document.createElement('span'), { textContent: label }));
    place.replaceChildren(ramp, ends);
  };
  const redraw = () => {
    draw('heat');
    draw('asym');
    const steps = [...Array(13).keys()].map((at) => at / 12);
    scale('heat-scale', steps.map(rising), ['0', 'grey: not tried', three(sums.most)]);
    const none = map.block > 1 ? 'blocks have no noise floor' : 'no noise floor';
    const floor = map.floor === null ? none : `faint: within ${three(map.floor)}, as chance shows on average`;
    scale('asym-scale', steps.map((at) => diverging(2 * at - 1)), [three(-sums.gap), floor, three(sums.gap)]);
    for (const text of document.querySelectorAll('.map-text')) text.hidden = text.dataset.map !== map.key;
  };

  const show = (row, column) => {
    if (cursor && cursor[0] === row && cursor[1] === column) return;
    cursor = [row, column];
    output.textContent = describe(row, column);
    draw('heat');
    draw('asym');
  };
  for (const canvas of Object.values(canvases)) {
    canvas.addEventListener('pointermove', (event) => {
      const box = canvas.getBoundingClientRect();
      const place = (at, length) => Math.min(map.size - 1, Math.max(0, Math.floor(at / length * map.size)));
      show(place(event.clientY - box.top - canvas.clientTop, canvas.clientHeight), place(event.clientX - box.left - canvas.clientLeft, canvas.clientWidth));
    });
    canvas.addEventListener('keydown', (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const keep = (value) => Math.min(map.size - 1, Math.max(0, value));
      if (cursor) show(keep(cursor[0] + step[0]), keep(cursor[1] + step[1])); else show(0, 0);
    });
  }
  for (const control of [which, order]) control.addEventListener('change', () => { select(); redraw(); });
  dark.addEventListener('change', redraw);
  select();
  redraw();
  document.documentElement.dataset.ready = 'yes';
})();
