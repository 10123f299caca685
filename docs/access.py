"""Can a page be read by whoever sees little, hears it read, or has no mouse?

What is measured follows WCAG 2.2, level AA: text has 4.5 times the contrast of its ground (large
text 3), headings go down a level at a time, links, buttons and fields have names, pictures have
alternative texts, and the Tab key reaches all of them and shows where it is. What is inside a
picture is not read here, but in ``tests/show/test_contrast.py``.
"""

from __future__ import annotations

from typing import Any

TOOLS = """
const shown = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length > 0;
const name = e => (e.textContent.trim() || e.getAttribute('aria-label') || e.title
  || e.placeholder || [...(e.labels ?? [])].map(l => l.textContent.trim()).join('')
  || [...e.querySelectorAll('img')].map(i => i.alt).join('')).trim();
const controls = () => [...document.querySelectorAll(
  'a[href], button, input, select, textarea, summary, [tabindex="0"]')]
  .filter(e => shown(e) && !e.disabled && e.tabIndex >= 0 && e.type !== 'hidden');
const short = e => e.outerHTML.replace(/\\s+/g, ' ').slice(0, 100);
"""

READ = f"""() => {{
{TOOLS}
const colour = text => {{
  const numbers = text.match(/[\\d.]+/g).map(Number);
  return numbers.length < 4 ? [...numbers, 1] : numbers;
}};
const over = (top, under) => under.map((v, i) => top[3] * top[i] + (1 - top[3]) * v);
const light = c => c.map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = e => {{
  const layers = [];
  for (; e; e = e.parentElement) layers.push(colour(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
}};
for (const e of document.querySelectorAll('article details')) e.open = true;
const wrong = [];
const pale = new Set();
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {{
  const e = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
  if (!text || !shown(e) || e.closest('svg, script, style, mjx-container, [aria-hidden=true]')) {{
    continue;
  }}
  const style = getComputedStyle(e), under = ground(e);
  const [a, b] = [light(over(colour(style.color), under)), light(under)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const kind = [e.tagName, e.className, style.color].join();
  if (ratio < (large ? 3 : 4.5) && !pale.has(kind)) {{
    pale.add(kind);
    wrong.push(`contrast ${{ratio.toFixed(2)}} of "${{text.slice(0, 30)}}"`);
  }}
}}
let last = 0;
for (const heading of document.querySelectorAll(
    ['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map(h => `article ${{h}}`).join())) {{
  const level = Number(heading.tagName[1]);
  if (level > last + 1) wrong.push(`h${{level}} after h${{last}}: ${{heading.textContent}}`);
  last = level;
}}
for (const e of controls()) if (!name(e)) wrong.push(`no name: ${{short(e)}}`);
for (const e of document.images) if (!e.hasAttribute('alt')) wrong.push(`no alt: ${{short(e)}}`);
return wrong;
}}"""

PREPARE = f"""() => {{
{TOOLS}
window.looks = e => {{
  const s = getComputedStyle(e);
  return [s.outlineStyle, s.outlineWidth, s.boxShadow, s.backgroundColor, s.color,
    s.textDecoration, s.borderColor].join();
}};
document.activeElement?.blur();
window.wanted = controls();
window.before = new Map(wanted.map(e => [e, looks(e)]));
window.short = short;
return wanted.length;
}}"""

PRESSED = """() => {
  const e = document.activeElement;
  if (!window.before.has(e)) return null;
  window.wanted = window.wanted.filter(other => other !== e);
  const seen = window.looks(e) !== window.before.get(e);
  return {left: window.wanted.length, unseen: seen ? null : window.short(e)};
}"""

LEFT = "() => window.wanted.map(window.short)"


def read(tab: Any) -> list[str]:
    """What is wrong with contrast, headings, names and alternative texts of a playwright page,
    which is left with all folded parts of its article open.
    """
    return list(tab.evaluate(READ))


def press_tab(tab: Any) -> list[str]:
    """What the Tab key does not reach on a playwright page, or reaches without showing it."""
    tab.add_style_tag(content="* { transition: none !important; }")
    wrong: list[str] = []
    left = tab.evaluate(PREPARE)
    for _ in range(3 * left + 30):
        tab.keyboard.press("Tab")
        state = tab.evaluate(PRESSED)
        if state is not None:
            left = state["left"]
            if state["unseen"] and (fault := f"focus not seen: {state['unseen']}") not in wrong:
                wrong.append(fault)
        if not left:
            return wrong
    return wrong + [f"not reached by Tab: {control}" for control in tab.evaluate(LEFT)]
