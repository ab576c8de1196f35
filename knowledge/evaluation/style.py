"""The style of an evaluation's page: light and dark, wide and on a phone."""

STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#55606f;--line:#d8dee6;--page:#fff;
--card:#f5f7fa;--curve:#1660c4;--right:#1660c4;--wrong:#b8421f;--good:#1b7a3d;--bad:#b02a1a}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf1;--soft:#a5b0be;--line:#39424e;
--page:#14181d;--card:#1d232b;--curve:#79b0ff;--right:#79b0ff;--wrong:#ff9a73;--good:#6fd693;
--bad:#ff8f80}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);margin:0}
main{max-width:68rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2.4rem 0 .4rem}
h3{font-size:1.02rem;margin:1.6rem 0 .2rem}h4{font-size:.85rem;margin:0;color:var(--soft)}
p{color:var(--soft);margin:.3rem 0}small{color:var(--soft);font-size:.8em}
code{font-size:.92em;overflow-wrap:anywhere}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.figures{display:flex;flex-wrap:wrap;gap:.7rem;padding:0;margin:1rem 0;list-style:none}
.figures li{flex:1 1 9rem;background:var(--card);border-radius:.5rem;padding:.7rem .9rem}
.figures b{font-size:1.45rem;display:block;line-height:1.2}
.figures span{display:block;font-size:.88rem}
nav{margin:1rem 0}nav a{color:var(--curve);margin-right:1rem}
.wide{overflow-x:auto;margin:.5rem 0}.plots>.wide{flex:1 1 24rem;min-width:0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:right;padding:.28rem .6rem;border-bottom:1px solid var(--line);
vertical-align:top;font-variant-numeric:tabular-nums;font-weight:400}
th:first-child,.words th,.words td{text-align:left}
tbody th{white-space:pre-wrap}.words td{overflow-wrap:anywhere;white-space:pre-wrap}
td,td small{white-space:nowrap}.words td:nth-child(2),.words td:nth-child(3){white-space:pre-line}
thead th{color:var(--soft);font-weight:600}
.plots{display:flex;flex-wrap:wrap;gap:1.5rem;margin:.6rem 0}
figure{margin:0;flex:1 1 20rem;max-width:34rem}figcaption{color:var(--soft);font-size:.88rem}
svg{width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.axis,.whisker{stroke:var(--line)}.whisker{stroke-width:2}
.ideal{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.curve,.line{fill:none;stroke-width:2}.curve{stroke:var(--curve)}.dot{fill:var(--curve)}
.right{fill:var(--right)}.wrong{fill:var(--wrong)}
.right.line{stroke:var(--right);fill:none}.wrong.line{stroke:var(--wrong);fill:none}
summary{cursor:pointer;padding:.3rem 0}summary i{color:var(--soft)}
.group{border:1px solid var(--line);border-radius:.5rem;padding:.2rem .8rem;margin:.5rem 0}
.group ul{padding-left:1.1rem;margin:.3rem 0}
.entries{display:flex;flex-wrap:wrap;gap:.7rem}
.entry{flex:1 1 18rem;background:var(--card);border-radius:.4rem;padding:.6rem .8rem;min-width:0;
overflow-wrap:anywhere}
.entry p{white-space:pre-line}.advice{color:var(--ink);margin:.6rem 0}
.advice::before{content:"→ ";color:var(--curve)}
dt{margin-top:.5rem}dd{margin:0 0 0 1rem;color:var(--soft)}
@media(max-width:30rem){th,td{padding:.28rem .35rem}.figures li{flex-basis:8rem}}
@media print{details{break-inside:avoid}}
"""
