'use strict';
(() => {
  const rows = [...document.querySelectorAll('table.specs tbody tr')];
  const each = [...document.querySelectorAll('details.spec')];
  const form = document.getElementById('filter');
  const words = document.getElementById('words');
  const shown = document.getElementById('shown');
  const texts = rows.map(r => (r.cells[1].textContent + ' ' + r.cells[2].textContent + ' ' + r.cells[0].textContent).toLowerCase());

  function filter() {
    const kind = form.elements.kind.value;
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    rows.forEach((row, i) => {
      const on = row.dataset.kinds.split(' ').includes(kind) && wanted.every(w => texts[i].includes(w));
      row.hidden = each[order[i]].hidden = !on;
      n += on;
    });
    document.querySelectorAll('section.scenario').forEach(s => { s.hidden = !s.querySelector('details.spec:not([hidden])'); });
    shown.textContent = n + ' of ' + rows.length + ' specs';
  }

  // The specs stand by scenario below, and in the order of the run in the table.
  const at = new Map(each.map((d, i) => [d.id, i]));
  const order = rows.map(r => at.get(r.querySelector('a').hash.slice(1)));

  // A click on a column's head sorts by it, a second one the other way round.
  document.querySelectorAll('table.specs thead th').forEach((th, column) => {
    if (th.classList.contains('time')) return;
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener('click', () => {
      const down = th.getAttribute('aria-sort') === 'ascending';
      document.querySelectorAll('table.specs thead th').forEach(x => x.removeAttribute('aria-sort'));
      th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = row => {
        const cell = row.cells[column];
        return 'sort' in cell.dataset ? Number(cell.dataset.sort || -1) : cell.textContent;
      };
      const sorted = [...rows].sort((a, b) => {
        const x = key(a), y = key(b);
        return (typeof x === 'number' ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
      });
      rows[0].parentNode.append(...sorted);
    });
  });

  // A page of very many specs has most of them packed.
  async function unpack(spec) {
    const packed = spec.querySelector(':scope > script');
    if (!packed) return;
    const bytes = Uint8Array.from(atob(packed.textContent), c => c.charCodeAt(0));
    packed.remove();
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    spec.insertAdjacentHTML('beforeend', await new Response(stream).text());
  }
  document.addEventListener('toggle', e => {
    if (e.target.open && e.target.matches('details.spec')) unpack(e.target);
  }, true);

  // A link to a spec opens it, even one that the filter hides.
  function open() {
    const spec = location.hash && document.getElementById(location.hash.slice(1));
    if (!spec || !spec.matches('details.spec')) return;
    spec.hidden = spec.parentNode.hidden = false;
    spec.open = true;
    spec.scrollIntoView();
    spec.querySelector('summary').focus({preventScroll: true});
  }

  form.hidden = false;
  form.addEventListener('submit', e => e.preventDefault());
  form.addEventListener('input', filter);
  document.addEventListener('keydown', e => {
    if (e.key === '/' && !e.target.matches('input')) { e.preventDefault(); words.focus(); }
  });
  document.addEventListener('click', e => { // the same link once more changes no hash
    const link = e.target.closest('a[href^="#s"]');
    if (link && link.hash === location.hash) open();
  });
  window.addEventListener('hashchange', open);
  filter();
  open();
})();
