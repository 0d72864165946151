// What every page of checker_html.cpp has in common: its head, its style for light and dark
// screens, and the script that shows what the pointer or the focus is on. The page works without
// the script.
#pragma once

#include <string_view>

namespace tally::sim::checker_html {

inline constexpr std::string_view kPageHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
)";

inline constexpr std::string_view kStyle = R"(<style>
:root { color-scheme: light dark;
  --page: #f7f8fa; --card: #ffffff; --ink: #1c2330; --soft: #667085; --line: #e3e7ee;
  --add: #dce8fc; --add-edge: #4b7bd0; --get: #dcf3e6; --get-edge: #3c9468;
  --maybe: #fff1d2; --maybe-edge: #bb8210; --refused: #ebe2fb; --refused-edge: #8258c6;
  --failed: #eceef1; --failed-edge: #9aa3b0; --bad: #d32f3f; --bad-ink: #ffffff;
  --path: #6b3fd4; --ok: #1f8a55; --unsure: #b27607; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12151b; --card: #1a1f28; --ink: #e6e9ef; --soft: #98a2b3; --line: #2d3441;
  --add: #233a61; --add-edge: #7ba5ec; --get: #1d4634; --get-edge: #62c594;
  --maybe: #4c3a12; --maybe-edge: #e0ac45; --refused: #3d2c61; --refused-edge: #b394ee;
  --failed: #2b313b; --failed-edge: #78818f; --bad: #e0495a; --bad-ink: #ffffff;
  --path: #b79bff; --ok: #38b27a; --unsure: #d99a25; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 28px 32px 40px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 21px; font-weight: 650; overflow-wrap: anywhere; }
h2 { margin: 28px 0 10px; font-size: 16px; }
header { display: flex; align-items: center; gap: 14px; }
.badge { padding: 3px 13px; border-radius: 20px; color: #fff; font-weight: 650;
  white-space: nowrap; background: var(--ok); }
.violation .badge { background: var(--bad); } .unknown .badge { background: var(--unsure); }
.counts { margin: 6px 0 0; color: var(--soft); }
.reason { margin: 14px 0 0; padding: 12px 16px; border-left: 4px solid var(--unsure);
  border-radius: 4px; background: var(--card); overflow-wrap: anywhere; max-height: 12em;
  overflow-y: auto; }
.violation .reason { border-color: var(--bad); }
.note { margin: 8px 0 0; color: var(--soft); font-size: 14px; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 18px 0 10px; padding: 0;
  list-style: none; font-size: 13px; color: var(--soft); }
.legend svg { vertical-align: -3px; margin-right: 7px; }
.board { display: grid; grid-template-columns: max-content max-content; overflow: auto;
  max-height: 74vh; width: fit-content; max-width: 100%; border: 1px solid var(--line);
  border-radius: 8px; background: var(--card); }
.board > * { background: var(--card); }
.board svg { display: block; }
.corner, .axis { position: sticky; top: 0; z-index: 2; border-bottom: 1px solid var(--line); }
.corner, .side { left: 0; position: sticky; border-right: 1px solid var(--line);
  padding: 0 14px 0 16px; font-size: 13px; color: var(--soft); }
.corner { z-index: 3; line-height: 30px; } .side { z-index: 1; }
.side div { display: flex; align-items: center; justify-content: flex-end; white-space: nowrap; }
.side .value { flex-direction: column; align-items: flex-end; justify-content: space-between;
  padding: 10px 0; border-bottom: 1px solid var(--line); line-height: 1.2; }
.side .value b { color: var(--ink); font-weight: 600; }
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--ink); }
.axis text, .soft { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); } .row { stroke: var(--line); stroke-dasharray: 1 5; }
.op { outline: none; } .op rect { stroke-width: 1.3; fill-opacity: .85; }
.add rect { fill: var(--add); stroke: var(--add-edge); }
.get rect { fill: var(--get); stroke: var(--get-edge); }
.maybe rect { fill: var(--maybe); stroke: var(--maybe-edge); stroke-dasharray: 5 3; }
.refused rect { fill: var(--refused); stroke: var(--refused-edge); }
.failed rect { fill: var(--failed); stroke: var(--failed-edge); }
.bad rect { fill: var(--bad);
  fill-opacity: 1; stroke: var(--bad); } .bad text { fill: var(--bad-ink); }
.unsure rect { stroke: var(--unsure); stroke-width: 2.6; }
.legend .unsure rect { fill: none; }
.op:hover rect, .op:focus rect, .op:target rect { stroke-width: 3; stroke: var(--ink); }
.path { fill: none; stroke: var(--path); stroke-width: 1.8; stroke-linejoin: round; opacity: .75; }
.dot { fill: var(--path); stroke: var(--card); stroke-width: 1.2; }
.path, .dot { pointer-events: none; }
.details { position: sticky; bottom: 0; z-index: 4; margin: 12px 0 0;
  padding: 10px 16px; min-height: 45px;
  border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--line);
  font-size: 14px; font-variant-numeric: tabular-nums; }
td, th { padding: 6px 14px; text-align: right; border-bottom: 1px solid var(--line); }
td:nth-child(3), th:nth-child(3) { text-align: left; } th { color: var(--soft); font-weight: 550; }
a { color: inherit; }
</style>
)";

inline constexpr std::string_view kScript = R"(<script>
const details = document.querySelector(".details");
const tell = (event) => {
  const bar = event.target.closest(".op");
  if (bar) details.textContent = bar.getAttribute("aria-label");
};
document.addEventListener("mouseover", tell);
document.addEventListener("focusin", tell);
const marked = document.querySelector(".board .bad, .board .unsure");
const board = document.querySelector(".board");
if (marked) {
  const bar = marked.getBoundingClientRect(), all = board.getBoundingClientRect();
  board.scrollLeft += bar.left - all.left - all.width / 3;
  board.scrollTop += bar.top - all.top - all.height / 3;
}
</script>
)";

}  // namespace tally::sim::checker_html
