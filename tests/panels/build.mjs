// Bundles the page into the folder that is given: node build.mjs OUT
import { build } from 'esbuild';

await build({
  entryPoints: ['page/main.jsx'],
  bundle: true,
  minify: true,
  outdir: process.argv[2],
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'dataurl', '.png': 'dataurl', '.woff2': 'dataurl', '.woff': 'dataurl', '.ttf': 'dataurl' },
  logLevel: 'warning',
});
