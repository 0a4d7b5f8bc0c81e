// Draws one dashboard's JSON: ?board=NAME&theme=dark|light&to=SECONDS&var-project_id=...
// panel-ID=QUERY puts another query into a panel, to see that the tests notice.
import React, { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { ThemeContext, createTheme, dateTime } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import { Panel } from './panel.jsx';
import { start } from './registries.js';
import { interpolator } from './variables.js';

const CELL = 30;
const GAP = 8;
const SECONDS = { m: 60, h: 3600, d: 86400 };

function choices(board, asked) {
  const chosen = { datasource: 'prometheus' };
  for (const variable of board.templating.list.filter((each) => each.type === 'query')) {
    const values = asked.getAll(`var-${variable.name}`);
    chosen[variable.name] = values.length ? values : variable.allValue;
  }
  return chosen;
}

function viewOf(board, asked) {
  const to = Number(asked.get('to'));
  const [, amount, unit] = (asked.get('since') ?? board.time.from).match(/now-(\d+)([mhd])/);
  const from = to - Number(amount) * SECONDS[unit];
  const chosen = choices(board, asked);
  const builtIn = { __range: `${to - from}s`, __range_s: to - from, __url_time_range: `from=${from * 1000}&to=${to * 1000}` };
  return {
    range: { from, to, fromMoment: dateTime(from * 1000), toMoment: dateTime(to * 1000) }, builtIn, chosen,
    scrapeSeconds: Number(asked.get('scrape') ?? 15),
    interpolate: (more) => interpolator(chosen, { ...builtIn, ...more }),
  };
}

function Header({ board, view }) {
  const shown = board.templating.list.map((each) => {
    const value = view.chosen[each.name];
    return [each.label, each.type === 'datasource' ? 'Prometheus' : Array.isArray(value) ? value.join(', ') : 'All'];
  });
  return (
    <div style={{ padding: `${GAP}px 0 4px`, display: 'flex', gap: 14, alignItems: 'baseline', flexWrap: 'wrap' }}>
      <strong style={{ fontSize: 18 }}>{board.title}</strong>
      {shown.map(([label, value]) => (
        <span key={label} style={{ opacity: 0.75, fontSize: 12 }}>{label}: {value}</span>
      ))}
      <span style={{ opacity: 0.75, fontSize: 12, marginLeft: 'auto' }}>{board.time.from} to now</span>
    </div>
  );
}

function Board({ board, view, width }) {
  const [done] = useState(() => new Map());
  const panels = board.panels.filter((each) => each.type !== 'row');
  const onDone = (id, state, error) => {
    done.set(id, { id, state, error, title: panels.find((each) => each.id === id).title });
    if (done.size === panels.length) {
      // Two frames and a moment: canvases are drawn after the commit, tables measure themselves once more.
      setTimeout(() => requestAnimationFrame(() => { window.__drawn = [...done.values()]; }), 1200);
    }
  };
  const column = (width - GAP) / 24;
  const place = ({ x, y, w, h }) => ({ position: 'absolute', left: x * column, top: y * (CELL + GAP), width: w * column - GAP, height: h * (CELL + GAP) - GAP });
  const bottom = Math.max(...board.panels.map((each) => each.gridPos.y + each.gridPos.h));
  return (
    <div style={{ position: 'relative', height: bottom * (CELL + GAP) }}>
      {board.panels.map((each) => {
        const at = place(each.gridPos);
        return (
          <div key={each.id} style={at}>
            {each.type === 'row' ? <h4 style={{ margin: '6px 2px' }}>{each.title}</h4>
              : <Panel panel={each} view={view} width={at.width} height={at.height} onDone={onDone} />}
          </div>
        );
      })}
    </div>
  );
}

async function main() {
  await start();
  const asked = new URLSearchParams(window.location.search);
  const board = await (await fetch(`/boards/${asked.get('board')}.json`)).json();
  for (const panel of board.panels) {
    const spoilt = asked.get(`panel-${panel.id}`);
    if (spoilt) {
      panel.targets = [{ ...panel.targets[0], expr: spoilt }];
    }
  }
  const theme = createTheme({ colors: { mode: asked.get('theme') ?? 'dark' } });
  document.body.style.background = theme.colors.background.canvas;
  const view = viewOf(board, asked);
  createRoot(document.getElementById('root')).render(
    <MemoryRouter>
      <ThemeContext.Provider value={theme}>
        <GlobalStyles />
        <div style={{ padding: `0 ${GAP}px ${GAP}px` }}>
          <Header board={board} view={view} />
          <Board board={board} view={view} width={window.innerWidth - GAP} />
        </div>
      </ThemeContext.Provider>
    </MemoryRouter>
  );
}

main().catch((error) => {
  window.__failed = String(error.stack);
});
