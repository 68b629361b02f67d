"""Folded stacks to a flame graph: one SVG that zooms, searches and needs nothing else, and the list of the
functions that were on top. Pure: text in, text out."""

import html
from collections import Counter

WIDTH = 1400
ROW = 17
HEAD = 64
CHARACTER = 6.6
# Narrower frames are invisible and only make the file large.
WIDTH_MIN = 0.4

STYLE = """
svg { background: #fbfbfa; font: 12px ui-monospace, Menlo, Consolas, monospace; }
text { pointer-events: none; } .title { font: 600 17px system-ui, sans-serif; } .about, #tip { font: 13px system-ui, sans-serif; fill: #555; }
g.f { cursor: pointer; } g.f:hover rect { stroke: #222; } g.found rect { fill: #7c3aed !important; } g.found text { fill: #fff; } g.faded { opacity: .35; }
"""
# A click zooms into a frame, a click on the bottom one zooms out; "/" asks for what to search.
SCRIPT = """
const all = [...document.querySelectorAll('g.f')], tip = document.getElementById('tip'), W = %(width)d, C = %(character)s;
const data = all.map(g => ({ g, x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d, name: g.dataset.n }));
function show(g) { tip.textContent = g.querySelector('title').textContent; }
function place(f, x, w) {
  f.g.style.display = ''; const r = f.g.querySelector('rect'), t = f.g.querySelector('text');
  r.setAttribute('x', x); r.setAttribute('width', Math.max(w - .5, .3)); t.setAttribute('x', x + 3);
  const n = Math.floor((w - 6) / C); t.textContent = n < 3 ? '' : f.name.length <= n ? f.name : f.name.slice(0, n - 1) + '…';
}
function zoom(to) {
  for (const f of data) {
    const inside = f.x >= to.x - 1e-6 && f.x + f.w <= to.x + to.w + 1e-6, below = f.d < to.d && f.x <= to.x + 1e-6 && f.x + f.w >= to.x + to.w - 1e-6;
    f.g.classList.toggle('faded', below);
    if (below) place(f, 0, W); else if (inside && f.d >= to.d) place(f, (f.x - to.x) / to.w * W, f.w / to.w * W); else f.g.style.display = 'none';
  }
}
for (const f of data) { f.g.addEventListener('click', () => zoom(f)); f.g.addEventListener('mouseover', () => show(f.g)); }
addEventListener('keydown', e => { if (e.key !== '/') return; e.preventDefault(); const word = prompt('Search for:') || '';
  for (const f of data) f.g.classList.toggle('found', word !== '' && f.name.includes(word)); });
"""


class Frame:
    """A function in its place of the stacks, with the samples at or above it."""

    __slots__ = ("name", "samples", "above")

    def __init__(self, name):
        self.name = name
        self.samples = 0
        self.above = {}


def fold(script):
    """`perf script` output to a count of stacks, outermost function first."""
    stacks = Counter()
    for block in script.split("\n\n"):
        lines = block.strip().splitlines()
        if len(lines) < 2:
            continue
        # The first line says who and when; each other one an address, a symbol, and its file in brackets.
        names = [function_name(line) for line in lines[1:]]
        stacks[tuple(reversed(names))] += 1
    return stacks


def function_name(line):
    name = line.strip().partition(" ")[2].rpartition(" (")[0] or "[unknown]"
    return shorten(name.partition("+0x")[0])


def shorten(name):
    """Rust names without the hash that the compiler appends."""
    head, mark, tail = name.rpartition("::h")
    return head if mark and len(tail) == 16 and all(sign in "0123456789abcdef" for sign in tail) else name


def tree(stacks):
    root = Frame("all")
    for names, count in stacks.items():
        root.samples += count
        at = root
        for name in names:
            at = at.above.setdefault(name, Frame(name))
            at.samples += count
    return root


def top(stacks, n_lines=40):
    """The functions that were running, and those that were on the stack at all, as shares of all samples."""
    own, whole = Counter(), Counter()
    for names, count in stacks.items():
        own[names[-1]] += count
        for name in set(names):
            whole[name] += count
    total = sum(stacks.values())
    lines = [f"{total} samples", "", "  itself    with callees  function"]
    for name, count in own.most_common(n_lines):
        lines.append(f"{count / total * 100:7.2f} %   {whole[name] / total * 100:9.2f} %  {name}")
    return "\n".join(lines) + "\n"


def svg(stacks, title, about):
    root = tree(stacks)
    if not root.samples:
        raise ValueError("no samples to draw")
    placed = list(place(root, 0.0, 0, WIDTH / root.samples))
    depth = max(at for _, _, _, at in placed) + 1
    height = HEAD + depth * ROW + 8
    frames = "\n".join(draw(frame, x, width, at, height, root.samples) for frame, x, width, at in placed)
    script = SCRIPT % {"width": WIDTH, "character": CHARACTER}
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%">\n<style>{STYLE}</style>\n'
        f'<text class="title" x="8" y="22">{html.escape(title)}</text>\n'
        f'<text class="about" x="8" y="41">{html.escape(about)} · click zooms, / searches</text>\n'
        f'<text id="tip" x="8" y="58"></text>\n{frames}\n<script><![CDATA[{script}]]></script>\n</svg>\n'
    )


def place(frame, x, depth, scale):
    width = frame.samples * scale
    if width < WIDTH_MIN:
        return
    yield frame, x, width, depth
    for above in sorted(frame.above.values(), key=lambda each: each.name):
        yield from place(above, x, depth + 1, scale)
        x += above.samples * scale


def draw(frame, x, width, depth, height, total):
    y = height - (depth + 1) * ROW - 4
    room = int((width - 6) / CHARACTER)
    name = frame.name
    label = "" if room < 3 else name if len(name) <= room else name[: room - 1] + "…"
    tip = f"{name}: {frame.samples} samples, {frame.samples / total * 100:.2f} %"
    return (
        f'<g class="f" data-x="{x:.3f}" data-w="{width:.3f}" data-d="{depth}" data-n="{html.escape(name)}"><title>{html.escape(tip)}</title>'
        f'<rect x="{x:.2f}" y="{y}" width="{max(width - 0.5, 0.3):.2f}" height="{ROW - 1}" rx="1.5" fill="{color(name)}"/>'
        f'<text x="{x + 3:.2f}" y="{y + 12}">{html.escape(label)}</text></g>'
    )


def color(name):
    """Warm for ours and its crates, blue for the kernel and system library; one shade for one name."""
    shade = sum(name.encode()) % 24
    return f"hsl({28 + shade} 82% {66 + shade % 8}%)" if "::" in name else f"hsl({200 + shade} 45% {72 + shade % 8}%)"
