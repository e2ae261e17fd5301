'use strict';
// Stands at the end of the page of a run under test, and tells the test what is shown whenever that changes.
(() => {
  const at = (id) => document.getElementById(id);
  const rows = (id) => [...at(id).rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  const press = (key) => at('matrix').dispatchEvent(new KeyboardEvent('keydown', { key, cancelable: true }));
  const pixels = (id) => at(id).getContext('2d').getImageData(0, 0, at(id).width, at(id).height).data;
  const tell = () => {
    for (const key of ['ArrowUp', 'ArrowLeft', 'ArrowRight']) press(key);
    const seen = {
      errors: window.seenErrors, title: document.title, status: at('status').textContent, state: at('status').className,
      now: at('now').textContent, progress: at('progress').value, figures: rows('figures'), of: at('of').textContent,
      cell: at('cell').textContent, pairs: rows('pairs'), log: at('log').textContent.split('\n'),
      curves: pixels('history').some((value) => value > 0),
      colour: [...at('matrix').getContext('2d').getImageData(at('matrix').width * 0.75, at('matrix').height * 0.25, 1, 1).data],
      width: window.innerWidth, scroll: document.documentElement.scrollWidth,
      dark: window.matchMedia('(prefers-color-scheme: dark)').matches, paper: getComputedStyle(document.body).backgroundColor,
      fetched: performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname).filter((path) => path !== '/seen'),
      unnamed: [...document.querySelectorAll('canvas, progress, img')].filter((element) => !element.ariaLabel).length,
    };
    fetch('seen', { method: 'POST', body: JSON.stringify(seen) });
  };
  const observer = new MutationObserver(tell);
  for (const id of ['log', 'status']) observer.observe(at(id), { childList: true });
})();
