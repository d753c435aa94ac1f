"""How the page looks: plain CSS, light and dark, wide and narrow; nothing is loaded."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d8dee5; --ground: #fff; --card: #f6f8fa;
  --accent: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e6ea; --soft: #9aa4af; --line: #3b424a; --ground: #14171b;
  --card: #1c2127; --accent: #7aa7ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 36px 0 4px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 20px 0 4px; overflow-wrap: anywhere; }
p { margin: 4px 0 10px; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: 14px; }
.empty { color: var(--soft); border-left: 3px solid var(--line); padding: 2px 0 2px 10px; }
.verdict { font-size: 17px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 14px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; min-width: 0; }
.card b { display: block; font-size: 20px; line-height: 1.3; overflow-wrap: anywhere; }
.card span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; max-width: 100%; margin: 8px 0; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
table.facts td:first-child { color: var(--soft); white-space: nowrap; }
img.plot { display: block; width: 100%; height: auto; margin: 6px 0; }
ol.steps { list-style: none; margin: 8px 0; padding: 0; }
ol.steps li { border-left: 3px solid var(--accent); padding: 1px 0 1px 12px; margin: 0 0 8px; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 700px) { main { padding: 16px 14px 32px; } h1 { font-size: 22px; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); } .card b { font-size: 17px; } }
@media print { main { max-width: none; } h2, h3 { break-after: avoid; } img.plot { break-inside: avoid; } }
"""
