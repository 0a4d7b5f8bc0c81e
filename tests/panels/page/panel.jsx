// One panel: its queries, its transformations, its overrides, and Grafana's own component for its kind.
import React, { useEffect, useState } from 'react';
import { lastValueFrom } from 'rxjs';
import {
  applyFieldOverrides, getDisplayValueAlignmentFactors, getFieldDisplayName, getFieldDisplayValues, transformDataFrame,
} from '@grafana/data';
import {
  BarGauge, BigValue, BigValueTextMode, PanelChrome, TimeSeries, TooltipPlugin2, VizRepeater, useTheme2,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { frames, intervals } from './prometheus.js';
import { fieldOptions } from './registries.js';

async function load(panel, view, width, theme) {
  const { step, rate } = intervals(view.range, width, view.scrapeSeconds);
  const builtIn = { ...view.builtIn, __interval: `${step}s`, __rate_interval: `${rate}s` };
  const many = panel.targets.length > 1;
  const answers = await Promise.all(
    panel.targets.map((target) => frames(target, view.interpolate(builtIn)(target.expr), view.range, step, many))
  );
  const context = { interpolate: (text) => text };
  const shaped = await lastValueFrom(transformDataFrame(panel.transformations ?? [], answers.flat(), context));
  const replaceVariables = (text, scoped) => view.interpolate(builtIn)(text, scoped);
  const made = applyFieldOverrides({
    data: shaped, fieldConfig: panel.fieldConfig, fieldConfigRegistry: fieldOptions, replaceVariables, theme,
    timeZone: 'utc',
  });
  // The names were worked out before the overrides: forget them, and work them out again.
  for (const frame of made) {
    for (const field of frame.fields) {
      field.state = { ...field.state, displayName: null };
    }
  }
  for (const frame of made) {
    for (const field of frame.fields) {
      field.state.displayName = getFieldDisplayName(field, frame, made);
    }
  }
  return made;
}

function empty(data) {
  return !data.some((frame) => frame.length > 0 && frame.fields.length > 0);
}

export function Panel({ panel, view, width, height, onDone }) {
  const theme = useTheme2();
  const [state, setState] = useState({ name: 'loading' });
  useEffect(() => {
    load(panel, view, width, theme)
      .then((data) => setState({ name: empty(data) ? 'nodata' : 'drawn', data }))
      .catch((error) => setState({ name: 'error', error: String(error) }));
  }, []);
  useEffect(() => {
    if (state.name !== 'loading') {
      onDone(panel.id, state.name, state.error);
    }
  }, [state]);
  return (
    <div data-panel={panel.id} data-state={state.name} data-title={panel.title} title={state.error}>
      <PanelChrome width={width} height={height} title={panel.title} description={panel.description}
        padding={panel.type === 'table' ? 'none' : 'md'} statusMessage={state.error}>
        {(innerWidth, innerHeight) => (
          <Broken report={(error) => setState({ name: 'error', error: String(error) })}>
            {state.name === 'drawn' && (
              <Inside panel={panel} view={view} data={state.data} width={innerWidth} height={innerHeight} />
            )}
            {state.name === 'nodata' && (
              <div style={{ display: 'grid', placeItems: 'center', height: innerHeight, opacity: 0.7 }}>
                {panel.fieldConfig.defaults.noValue ?? 'No data'}
              </div>
            )}
          </Broken>
        )}
      </PanelChrome>
    </div>
  );
}

class Broken extends React.Component {
  state = {};
  static getDerivedStateFromError(error) {
    return { error };
  }
  componentDidCatch(error) {
    this.props.report(error);
  }
  render() {
    return this.state.error ? <pre>{String(this.state.error.stack)}</pre> : this.props.children;
  }
}

function Inside(props) {
  return { stat: Stats, bargauge: Bars, timeseries: Lines, table: Rows }[props.panel.type](props);
}

function shownValues({ panel, data, view }, theme) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, data, theme, timeZone: 'utc',
    replaceVariables: (text, scoped) => view.interpolate(view.builtIn)(text, scoped),
    sparkline: panel.type === 'stat' && panel.options.graphMode === 'area',
  });
}

function Stats({ panel, data, view, width, height }) {
  const theme = useTheme2();
  const values = shownValues({ panel, data, view }, theme);
  const several = values.length > 1;
  return (
    <VizRepeater width={width} height={height} source={values} orientation="auto" getValues={() => values}
      renderValue={({ value, width, height }) => (
        <BigValue value={value.display} count={values.length} sparkline={value.sparkline} width={width} height={height}
          colorMode={panel.options.colorMode} graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode} theme={theme}
          textMode={!several && panel.options.textMode === 'auto' ? BigValueTextMode.Value : panel.options.textMode} />
      )} />
  );
}

function Bars({ panel, data, view, width, height }) {
  const theme = useTheme2();
  const values = shownValues({ panel, data, view }, theme);
  return (
    <VizRepeater width={width} height={height} source={values} orientation={panel.options.orientation}
      getValues={() => values} itemSpacing={8} minVizHeight={16} minVizWidth={8} maxVizHeight={40}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, width, height, alignmentFactors }) => (
        <BarGauge value={value.display} width={width} height={height} orientation={panel.options.orientation}
          field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} theme={theme}
          itemSpacing={8} displayMode={panel.options.displayMode} alignmentFactors={alignmentFactors}
          showUnfilled={panel.options.showUnfilled} valueDisplayMode={panel.options.valueMode}
          namePlacement={panel.options.namePlacement} text={panel.options.text} />
      )} />
  );
}

function Lines({ panel, data, view, width, height }) {
  const range = { from: view.range.fromMoment, to: view.range.toMoment, raw: { from: '', to: '' } };
  return (
    <TimeSeries frames={data} structureRev={1} width={width} height={height} timeRange={range} timeZone={['utc']}
      legend={panel.options.legend} options={panel.options} />
  );
}

function Rows({ panel, data, width, height }) {
  const sort = (panel.options.sortBy ?? []).map((each) => ({ displayName: each.displayName, desc: each.desc }));
  return (
    <TableNG data={data[0]} width={width} height={height} sortBy={sort} cellHeight={panel.options.cellHeight}
      noHeader={!panel.options.showHeader} noValue={panel.fieldConfig.defaults.noValue} fieldConfig={panel.fieldConfig}
      enableVirtualization={false} structureRev={1} />
  );
}
