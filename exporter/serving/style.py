"""The look of the pages: one inline sheet, no script, no font and no picture from anywhere; light and dark."""

CSS = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16202b;--soft:#5a6775;--line:#e1e6eb;--accent:#0b7a5b;
--good:#0b7a5b;--goodbg:#dff4ec;--calm:#3d5a80;--calmbg:#e4ecf6;--warn:#8a5a00;--warnbg:#fdf0d2;--bad:#a8281e;--badbg:#fde4e1;
--bar:#8fd3bd;--bar2:#c3ccd6}
@media (prefers-color-scheme:dark){:root{--bg:#0e1318;--card:#161d24;--ink:#e6ebf0;--soft:#98a6b3;--line:#28323c;
--accent:#4fd1a5;--good:#5fd6ae;--goodbg:#12342a;--calm:#9dbbe0;--calmbg:#1b2a3d;--warn:#f0c36a;--warnbg:#372a0d;
--bad:#ff9a8f;--badbg:#421a17;--bar:#1f7a5e;--bar2:#3a4653}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 14px;padding-top:22px;padding-bottom:4px}
h1{font-size:22px;margin:0;letter-spacing:-.01em}h1 b{color:var(--accent)}
header p{margin:0;color:var(--soft)}header .age{margin-left:auto;font-variant-numeric:tabular-nums}
h2{font-size:16px;margin:0 0 2px}section>p,.hint{margin:0 0 10px;color:var(--soft);font-size:13.5px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin:14px 0}
a{color:var(--accent)}nav{display:flex;flex-wrap:wrap;gap:4px 16px;padding:4px 0 2px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(185px,1fr));gap:12px;margin:14px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:13px 16px}
.tile dt{color:var(--soft);font-size:13.5px}.tile dd{margin:2px 0 0}
.tile .n{font-size:27px;font-weight:650;letter-spacing:-.02em;line-height:1.2;font-variant-numeric:tabular-nums}
.tile .s{color:var(--soft);font-size:13px;display:block}
.cols{display:grid;grid-template-columns:1fr 1fr;gap:0 14px;align-items:start}.cols>*{min-width:0}
.cols section{margin-top:0}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:600;color:var(--soft);text-align:left;font-size:12.5px;border-bottom:1px solid var(--line);
padding:4px 14px 6px 0;white-space:nowrap}
td{padding:8px 14px 8px 0;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child td{border-bottom:0}td.b{width:34%}
td.t{white-space:nowrap;font-variant-numeric:tabular-nums}.r{text-align:right}th:last-child,td:last-child{padding-right:0}
.sub{font-weight:400;color:var(--soft);font-size:12.5px;display:block;overflow-wrap:anywhere}
.pill{display:inline-block;border-radius:99px;padding:1px 9px;font-size:12.5px;font-weight:600;white-space:nowrap}
.good{background:var(--goodbg);color:var(--good)}.calm{background:var(--calmbg);color:var(--calm)}
.warn{background:var(--warnbg);color:var(--warn)}.bad{background:var(--badbg);color:var(--bad)}
code{font:12.5px ui-monospace,"DejaVu Sans Mono",Menlo,monospace;color:var(--soft)}
.bar{height:8px;border-radius:4px;background:var(--line);min-width:36px;margin-top:6px;overflow:hidden}
.bar i{display:block;height:100%;background:var(--bar);border-radius:4px}.bar.own i{background:var(--bar2)}
.notes{border-color:var(--warn)}.notes ul{margin:6px 0 0;padding-left:20px}.notes h2{color:var(--warn)}
.names{display:flex;flex-wrap:wrap;gap:6px;list-style:none;margin:8px 0 0;padding:0}
footer{color:var(--soft);font-size:13px;padding-bottom:26px}
@media (max-width:820px){.cols{grid-template-columns:1fr}}
@media (max-width:680px){main,header,footer{padding-left:12px;padding-right:12px}.tiles{grid-template-columns:1fr 1fr}
header .age{margin-left:0;width:100%}.stack thead{position:absolute;clip-path:inset(50%)}
.stack,.stack tbody{display:block}.stack tr{display:block;border-bottom:1px solid var(--line);padding:9px 0}
.stack tr:last-child{border:0}
.stack td{display:flex;gap:10px;border:0;padding:2px 0;white-space:normal}.stack td::before{content:attr(data-l);
color:var(--soft);flex:0 0 92px;font-size:12.5px;padding-top:1px}.stack td:first-child::before{content:none}
.stack td:first-child{font-weight:600;font-size:15px}.stack td:empty{display:none}.tile .n{font-size:22px}}
"""
