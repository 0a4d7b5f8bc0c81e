// What Grafana registers at its start and its panel components rely on: field options, transformations, language, links.
import {
  FieldConfigOptionsRegistry,
  booleanOverrideProcessor,
  dataLinksOverrideProcessor,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  locationUtil,
  numberOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';

const STANDARD = {
  unit: unitOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  displayName: displayNameOverrideProcessor,
  noValue: stringOverrideProcessor,
  color: identityOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  links: dataLinksOverrideProcessor,
  filterable: booleanOverrideProcessor,
};

// Options of the drawn kinds of panel: https://grafana.com's "custom" field options, taken over as they are.
const CUSTOM = [
  'align', 'cellOptions', 'filterable', 'hidden', 'hideFrom', 'inspect', 'minWidth', 'width', 'wrapText',
  'axisBorderShow', 'axisCenteredZero', 'axisColorMode', 'axisGridShow', 'axisLabel', 'axisPlacement', 'axisSoftMax',
  'axisSoftMin', 'axisWidth', 'barAlignment', 'barMaxWidth', 'barWidthFactor', 'drawStyle', 'fillBelowTo', 'fillColor',
  'fillOpacity', 'gradientMode', 'insertNulls', 'lineColor', 'lineInterpolation', 'lineStyle', 'lineWidth',
  'pointColor', 'pointSize', 'pointSymbol', 'scaleDistribution', 'showPoints', 'spanNulls', 'stacking',
  'thresholdsStyle', 'transform',
];

function option(path, process, isCustom) {
  const id = isCustom ? `custom.${path}` : path;
  return { id, path, name: id, isCustom, process, shouldApply: () => true, override: () => null, editor: () => null };
}

export const fieldOptions = new FieldConfigOptionsRegistry(() => [
  ...Object.entries(STANDARD).map(([path, process]) => option(path, process, false)),
  ...CUSTOM.map((path) => option(path, identityOverrideProcessor, true)),
]);

export async function start() {
  standardTransformersRegistry.setInit(() =>
    // Two names can stand for one transformer.
    [...new Map(Object.values(standardTransformers).map((each) => [each.id, each])).values()].map((each) => ({
      id: each.id, name: each.name, description: each.description, editor: () => null,
      transformation: () => Promise.resolve(each),
    }))
  );
  locationUtil.initialize({
    config: { appSubUrl: '' }, getTimeRangeForUrl: () => ({ from: 'now-6h', to: 'now' }), getVariablesUrlParams: () => ({}),
  });
  await initPluginTranslations('neonmeter');
}
