"""Hold the style sheet of a report: light and dark, narrow and on paper."""

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --paper: #ffffff; --shade: #f3f5f7; --line: #d0d7de;
  --good: #116329; --goodback: #dafbe1; --warn: #6f4400; --warnback: #fff1c2; --bad: #a40e26; --badback: #ffe2e0;
  --reject: #b3261e; --defer: #b96a00; --report: #3b6ea8; --fine: #2b7a4b; --link: #0a58a8;
  --s0: #0a58a8; --s1: #b3261e; --s2: #2b7a4b; --s3: #7a3fb0; --s4: #b96a00; --s5: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #12161b; --shade: #1c2229;
  --line: #3a434d; --good: #7ee2a0; --goodback: #12361f; --warn: #f2cc60; --warnback: #3d2e00; --bad: #ffa198;
  --badback: #4c1418; --reject: #f0746b; --defer: #e0a04a; --report: #7fb2e8; --fine: #5cc487; --link: #79b8ff;
  --s0: #79b8ff; --s1: #f0746b; --s2: #5cc487; --s3: #c9a0f5; --s4: #e0a04a; --s5: #9da7b1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
a { color: var(--link); }
code { font: .92em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.made, .rest, .empty, .never { color: var(--soft); }
.made { margin: .25rem 0 .75rem; }
nav ul, .legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; margin: .5rem 0; }
.problems { padding-left: 1.25rem; }
.problems li { overflow-wrap: anywhere; margin: .25rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tiles div { background: var(--shade); border-radius: .5rem; padding: .75rem 1rem; }
dt { color: var(--soft); font-size: .9rem; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.badge { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .9rem; white-space: nowrap; }
.badge.ok { color: var(--good); background: var(--goodback); }
.badge.warning { color: var(--warn); background: var(--warnback); }
.badge.critical { color: var(--bad); background: var(--badback); }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding: .25rem 0 .4rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line);
  unicode-bidi: isolate; max-width: 26rem; overflow-wrap: break-word; }
td:last-child { min-width: 15rem; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 9rem; }
tbody th.number { min-width: 0; }
time { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 1.25rem; }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: var(--soft); font-size: .92rem; margin-bottom: .5rem; }
.chart { display: block; width: 100%; min-width: 36rem; max-width: 54rem; height: auto; }
.chart text { font-size: 13px; fill: var(--ink); dominant-baseline: central; }
.chart .label, .chart .last { text-anchor: end; }
.chart .tick { text-anchor: middle; }
.chart .first, .chart .last, .chart .tick { fill: var(--soft); dominant-baseline: auto; }
.axis, .grid { stroke: var(--line); }
.reject { fill: var(--reject); background: var(--reject); } .defer { fill: var(--defer); background: var(--defer); }
.report { fill: var(--report); background: var(--report); }
.fine { fill: var(--fine); } .soon { fill: var(--defer); } .bad { fill: var(--reject); }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: .15rem; }
.line { fill: none; stroke-width: 2; } .dot { stroke: none; }
.line.series0 { stroke: var(--s0); } .dot.series0 { fill: var(--s0); }
.line.series1 { stroke: var(--s1); stroke-dasharray: 7 3; } .dot.series1 { fill: var(--s1); }
.line.series2 { stroke: var(--s2); stroke-dasharray: 2 3; } .dot.series2 { fill: var(--s2); }
.line.series3 { stroke: var(--s3); stroke-dasharray: 10 3 2 3; } .dot.series3 { fill: var(--s3); }
.line.series4 { stroke: var(--s4); stroke-dasharray: 5 5; } .dot.series4 { fill: var(--s4); }
.line.series5 { stroke: var(--s5); stroke-dasharray: 12 5; } .dot.series5 { fill: var(--s5); }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  .wide, figure { overflow: visible; } .chart { min-width: 0; } tr, figure { break-inside: avoid; }
  h2 { break-after: avoid; } .badge, .tiles div { border: 1px solid var(--line); }
  rect { print-color-adjust: exact; } }
"""
