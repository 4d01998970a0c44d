// Click a face in what Detect Faces has found to choose it; click it again for all.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { text } from "./texts.js";
import { addControl, change, hidePreview, make, onChange, setWidget, whileThere, widget } from "./widgets.js";

const ALL = -1;

/** What the node showed at its last run. */
function outputOf(node) {
  const { graph, id } = node;
  return app.nodeOutputs?.[graph?.isRootGraph === false ? `${graph.id}:${id}` : id];
}

app.registerExtension({
  name: "DenseFace.FacePicker",
  nodeCreated(node) {
    if (node.comfyClass !== "DenseFace_DetectFaces") return;
    const image = make("img", { alt: "" });
    const photo = make("div", { className: "dense-face-photo faces", hidden: true }, image);
    const hint = make("div", {
      className: "dense-face-hint",
      textContent: text("Run once, then click a face to choose it"),
    });
    const chosen = () => widget(node, "face_index")?.value;
    const mark = () => {
      for (const [number, button] of photo.querySelectorAll("button").entries()) {
        button.classList.toggle("chosen", number === chosen());
      }
    };
    const choose = (number) =>
      change(() => setWidget(node, "face_index", number === chosen() ? ALL : number));
    const show = (boxes) => {
      const buttons = boxes.map(([x, y, width, height], number) => {
        const button = make("button", {
          type: "button",
          title: text("Face {number}", { number }),
          onclick: () => choose(number),
        });
        Object.assign(button.style, {
          left: `${100 * x}%`,
          top: `${100 * y}%`,
          width: `${100 * width}%`,
          height: `${100 * height}%`,
        });
        return button;
      });
      photo.replaceChildren(image, ...buttons);
      photo.hidden = false;
      mark();
    };
    let last;
    // The frontend keeps what a node has shown when undo or another tab makes the node anew.
    const look = () => {
      const output = outputOf(node);
      if (output === last) return;
      last = output;
      const [boxes] = output?.face_boxes ?? [];
      const [preview] = output?.images ?? [];
      if (!boxes || !preview) return;
      image.onload = () => show(boxes);
      image.src = api.apiURL(`/view?${new URLSearchParams(preview)}`);
    };
    hidePreview(node);
    addControl(node, "face_picker", make("div", {}, photo, hint), 270);
    onChange(node, ["face_index"], mark);
    whileThere(node, look, 500);
  },
});
