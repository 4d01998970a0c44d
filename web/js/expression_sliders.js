// The 51 blendshapes in groups, left and right together, drawn on a head while they move.

import { app } from "../../../scripts/app.js";
import { liveHead } from "./head.js";
import { bothSides, oneSide } from "./movements.js";
import { text } from "./texts.js";
import { addControl, change, endChange, make, onChange, setWidget, startChange, widget } from "./widgets.js";

// Read when a node is made: the language may change.
const GROUPS = {
  brow: () => text("Brows"),
  eye: () => text("Eyes"),
  cheek: () => text("Cheeks"),
  nose: () => text("Nose"),
  mouth: () => text("Mouth"),
  jaw: () => text("Jaw"),
};

/** Movements of a group: [label, names], those of both sides together unless `apart`. */
function rows(names, group, apart) {
  const found = new Map();
  for (const name of names.filter((each) => each.startsWith(group))) {
    const label = apart ? oneSide(name) : bothSides(name);
    found.set(label, [...(found.get(label) ?? []), name]);
  }
  return [...found];
}

app.registerExtension({
  name: "DenseFace.ExpressionSliders",
  nodeCreated(node) {
    if (node.comfyClass !== "SFSR_ExpressionFromSliders") return;
    const names = node.widgets.map((each) => each.name).filter((name) => /^[a-z]+[A-Z]/.test(name));
    const head = liveHead(text("Head with this expression"));
    const panel = make("div", { className: "dense-face-sliders" });
    const linked = make("input", { type: "checkbox", checked: true });
    const reset = make("button", {
      type: "button",
      textContent: text("At rest"),
      onclick: () => change(() => names.forEach((name) => setWidget(node, name, 0))),
    });
    const value = (members) =>
      Math.max(...members.map((name) => Number(widget(node, name)?.value) || 0));
    let shown = [];

    const row = ([label, members]) => {
      const number = make("output");
      const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, ariaLabel: label });
      let moving = false; // until it is let go, or once for each key
      slider.addEventListener("input", () => {
        if (!moving) startChange();
        moving = true;
        for (const name of members) setWidget(node, name, Number(slider.value));
      });
      slider.addEventListener("change", () => {
        if (moving) endChange();
        moving = false;
      });
      for (const event of ["pointerdown", "pointermove"]) {
        slider.addEventListener(event, (each) => each.stopPropagation());
      }
      shown.push(() => {
        slider.value = value(members);
        number.textContent = Number(slider.value).toFixed(2);
      });
      return make("label", {}, label, slider, number);
    };
    const build = () => {
      shown = [];
      const open = new Set(
        [...panel.querySelectorAll("details[open]")].map((each) => each.dataset.group),
      );
      panel.replaceChildren(
        ...Object.entries(GROUPS).map(([group, title]) =>
          make(
            "details",
            { dataset: { group }, open: open.size ? open.has(group) : group === "mouth" },
            make("summary", { textContent: title() }),
            ...rows(names, group, !linked.checked).map(row),
          ),
        ),
      );
      for (const each of shown) each();
    };
    linked.addEventListener("change", build);

    for (const name of names) hide(node, name);
    const together = ` ${text("left and right together")} `;
    const both = make("label", { className: "dense-face-hint" }, linked, together);
    const top = make("div", { className: "dense-face-words" }, both, reset);
    addControl(node, "face_sliders", make("div", {}, head, top, panel), 460);
    build();
    onChange(node, names, () => {
      const values = names.map((name) => [name, Number(widget(node, name)?.value) || 0]);
      head.show(Object.fromEntries(values));
      for (const each of shown) each();
    });
  },
});

// The panel stands for these; their values are saved and sent as before. One that is linked stays.
function hide(node, name) {
  const found = widget(node, name);
  if (node.inputs?.some((input) => input.widget?.name === name && input.link != null)) return;
  found.hidden = true;
  found.options.hidden = true; // for the other rendering of nodes
}
