// What a node has measured or saved: a bar with its threshold, the number in words, and the text.

import { app } from "../../../scripts/app.js";
import { text } from "./texts.js";
import { addControl, make } from "./widgets.js";

const MEASURE = ["Likeness", "Pose", "Expression", "Change"].map((what) => `DenseFace_Measure${what}`);
const SAVE = ["DenseFace_SaveIdentity", "SFSR_SaveExpression", "DenseFace_ConvertRelease"];
const percent = (fraction) => `${100 * fraction}%`;
const shows = new Map(); // by node, while it is in a graph

function bar({ fraction, words, mark, label }) {
  const meter = make("div", { role: "meter", ariaValueMin: 0, ariaValueMax: 1, ariaValueNow: fraction });
  meter.ariaLabel = label ? `${label}: ${words}` : words;
  const fill = make("div", { className: "fill" });
  fill.style.width = percent(fraction);
  meter.append(fill);
  if (mark !== null) {
    const line = make("div", { className: "mark", title: String(mark) });
    line.style.left = percent(mark);
    meter.append(line);
    meter.classList.add(fraction >= mark ? "above" : "below");
  }
  const name = make("span", { textContent: label, title: label });
  return make("div", { className: "dense-face-bar" }, name, make("strong", { textContent: words }), meter);
}

/** As the frontend files a node's last output. */
function place(node) {
  return node.graph?.isRootGraph === false ? `${node.graph.id}:${node.id}` : String(node.id);
}

app.registerExtension({
  name: "DenseFace.Results",
  nodeCreated(node) {
    const measures = MEASURE.includes(node.comfyClass);
    if (!measures && !SAVE.includes(node.comfyClass)) return;
    const bars = make("div");
    const account = make("div", { className: "dense-face-hint" });
    if (measures) account.textContent = text("Run to measure");
    const show = (output) => {
      if (!output?.text) return;
      bars.replaceChildren(...(output.measured_bars ?? []).map(bar));
      account.textContent = [output.text].flat().join("\n");
    };
    shows.set(node, show);
    const { onExecuted, onRemoved } = node;
    node.onExecuted = function (output, ...rest) {
      onExecuted?.call(this, output, ...rest);
      show(output);
    };
    node.onRemoved = function (...rest) {
      shows.delete(node);
      return onRemoved?.apply(this, rest);
    };
    addControl(node, "results", make("div", {}, bars, account), measures ? 120 : 52);
  },
  // Undo makes the node anew; another tab, or a result of the history, brings its own outputs.
  loadedGraphNode(node) {
    shows.get(node)?.(app.nodeOutputs?.[place(node)]);
  },
  onNodeOutputsUpdated(outputs) {
    for (const [node, show] of shows) show(outputs[place(node)]);
  },
});
