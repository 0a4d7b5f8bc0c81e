// Prometheus' answers as Grafana's Prometheus datasource makes data frames of them.
import { FieldType, createDataFrame } from '@grafana/data';

const RATE_STEPS = 4;

export function intervals(range, width, scrapeSeconds) {
  const raw = (range.to - range.from) / Math.max(100, width);
  const step = Math.max(scrapeSeconds, ROUND.find((each) => each >= raw * 0.7) ?? 86400);
  return { step, rate: Math.max(step + scrapeSeconds, RATE_STEPS * scrapeSeconds) };
}

const ROUND = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

async function ask(path, parameters) {
  const answer = await fetch(path, { method: 'POST', body: new URLSearchParams(parameters) });
  const body = await answer.json();
  if (body.status !== 'success') {
    throw new Error(body.error ?? `HTTP ${answer.status}`);
  }
  return body.data.result;
}

export async function frames(target, expr, range, step, many) {
  if (target.instant || target.format === 'table') {
    const result = await ask('/api/v1/query', { query: expr, time: range.to });
    return target.format === 'table' ? rows(target, result, many) : result.map((each) => line(target, each, [each.value]));
  }
  const from = Math.floor(range.from / step) * step;
  const result = await ask('/api/v1/query_range', { query: expr, start: from, end: range.to, step });
  return result.map((each) => line(target, each, filled(each.values, from, range.to, step)));
}

// The datasource puts a null where a step has no sample, so that gaps are gaps.
function filled(values, from, to, step) {
  const known = new Map(values.map(([at, value]) => [at, value]));
  const made = [];
  for (let at = from; at <= to; at += step) {
    made.push([at, known.has(at) ? known.get(at) : null]);
  }
  return made;
}

function line(target, series, values) {
  const name = legend(target, series.metric);
  return createDataFrame({
    refId: target.refId, name,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: values.map(([at]) => at * 1000) },
      {
        name: 'Value', type: FieldType.number, labels: series.metric, config: { displayNameFromDS: name },
        values: values.map(([, value]) => (value === null ? null : Number(value))),
      },
    ],
  });
}

function legend(target, labels) {
  if (target.legendFormat) {
    return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  }
  const inside = Object.entries(labels).filter(([key]) => key !== '__name__').map(([key, value]) => `${key}="${value}"`);
  return `${labels.__name__ ?? ''}{${inside.join(', ')}}`;
}

function rows(target, result, many) {
  if (result.length === 0) {
    return [];
  }
  const labels = [...new Set(result.flatMap((each) => Object.keys(each.metric)))].sort();
  return [createDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: result.map((each) => each.value[0] * 1000) },
      ...labels.map((label) => ({
        name: label, type: FieldType.string, config: { filterable: true },
        values: result.map((each) => each.metric[label] ?? ''),
      })),
      {
        name: many ? `Value #${target.refId}` : 'Value', type: FieldType.number, config: {},
        values: result.map((each) => Number(each.value[1])),
      },
    ],
  })];
}
