// $name, ${name} and ${name:queryparam}, as Grafana writes them into queries and links.
export function interpolator(chosen, builtIn) {
  const escaped = (value) => value.replace(/[$^*{}[\]'+?.()\\|]/g, '\\$&').replace(/\\/g, '\\\\');
  const inQuery = (name) => {
    const value = chosen[name];
    return Array.isArray(value) ? (value.length === 1 ? escaped(value[0]) : `(${value.map(escaped).join('|')})`) : value;
  };
  return (text, context) =>
    text.replace(/\$\{(\w+(?:\.\w+)*)(?::(\w+))?\}|\$(\w+)/g, (whole, braced, format, plain) => {
      const name = braced ?? plain;
      const field = name.match(/^__data\.fields\.(\w+)$/);
      if (field) {
        return encodeURIComponent(rowValue(context, field[1]) ?? '');
      }
      if (name in builtIn) {
        return String(builtIn[name]);
      }
      if (!(name in chosen)) {
        return whole;
      }
      if (format === 'queryparam') {
        const all = name === 'datasource' ? chosen[name] : '$__all';
        const values = Array.isArray(chosen[name]) ? chosen[name] : [all];
        return values.map((value) => `var-${name}=${encodeURIComponent(value)}`).join('&');
      }
      return inQuery(name);
    });
}

function rowValue(context, name) {
  const data = context?.__dataContext?.value;
  const field = data?.frame?.fields.find((each) => (each.state?.displayName ?? each.name) === name || each.name === name);
  return field?.values[data.rowIndex];
}
