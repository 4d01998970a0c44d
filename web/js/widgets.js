// What the controls have in common: an element under a node's widgets, and reading and writing these.

import { app } from "../../../scripts/app.js";

const WIDTH = 300;
let count = 0;

/** The node's widget of that name. */
export function widget(node, name) {
  return node.widgets?.find((each) => each.name === name);
}

/** Set a widget as if its own control had been used, within its limits. */
export function setWidget(node, name, value) {
  const found = widget(node, name);
  if (!found) return;
  const { min = -Infinity, max = Infinity } = found.options ?? {};
  const fitting = typeof value === "number" ? Math.min(max, Math.max(min, value)) : value;
  if (found.value === fitting) return;
  found.value = fitting;
  found.callback?.(fitting, app.canvas, node);
  node.setDirtyCanvas?.(true, true);
}

/**
 * Call `changed` once now, and whenever one of the widgets changes: by hand, by a script, by undo or
 * by loading a graph. Stops when the node is removed.
 */
export function onChange(node, names, changed) {
  let last;
  const look = () => {
    const now = JSON.stringify(names.map((name) => widget(node, name)?.value));
    if (now === last) return;
    last = now;
    changed();
  };
  // Neither rendering of nodes calls a widget's callback for every kind of change.
  whileThere(node, look, 100);
}

/** Call `look` once now and every so many milliseconds, until the node is removed. */
export function whileThere(node, look, milliseconds) {
  const timer = setInterval(look, milliseconds);
  const removed = node.onRemoved;
  node.onRemoved = function (...rest) {
    clearInterval(timer);
    return removed?.apply(this, rest);
  };
  look();
}

/** Put an element below the node's widgets; it is saved nowhere and belongs to no input. */
export function addControl(node, name, element, height) {
  element.classList.add("dense-face-control");
  element.style.maxHeight = `${height}px`;
  // Undo makes nodes anew under their old ids; under its old name, a control of the removed node
  // would stay on the screen.
  count += 1;
  const added = node.addDOMWidget(`${name}_${count}`, "dense_face", element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getMaxHeight: () => height,
  });
  added.serialize = false;
  // The canvas zooms with the wheel; a list that can scroll keeps it.
  element.addEventListener("wheel", (event) => {
    if (element.scrollHeight > element.clientHeight) event.stopPropagation();
  });
  element.addEventListener("keydown", undoByKeys);
  const [width, needed] = node.computeSize();
  node.setSize([Math.max(width, WIDTH), needed]);
  return added;
}

/** Show the node's output image nowhere else: its control shows what is to be seen. */
export function hidePreview(node) {
  node.hideOutputImages = true; // new rendering
  node.onDrawBackground = () => {}; // classic rendering draws previews there
}

/** The frontend leaves undo in an input to the browser, which has none for sliders and boxes. */
function undoByKeys(event) {
  const key = event.key.toLowerCase();
  if (!["range", "checkbox"].includes(event.target.type)) return;
  if (!(event.ctrlKey || event.metaKey) || !["y", "z"].includes(key)) return;
  event.preventDefault();
  const redo = key === "y" || event.shiftKey;
  app.extensionManager.command.execute(redo ? "Comfy.Redo" : "Comfy.Undo");
}

/** What happens until `endChange` is one step of undo. */
export function startChange() {
  app.canvas.emitBeforeChange?.();
}

/** To be called once after each `startChange`. */
export function endChange() {
  app.canvas.emitAfterChange?.();
}

/** Do something as one step of undo. */
export function change(action) {
  startChange();
  action();
  endChange();
}

/** An element with properties, listeners and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { dataset, ...others } = properties;
  Object.assign(element, others);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

const style = make("link", {
  rel: "stylesheet",
  href: new URL("controls.css", import.meta.url).href,
});
document.head.append(style);
