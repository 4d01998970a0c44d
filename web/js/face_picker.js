// Click a face in what Detect Faces has found to choose it; click it again for all.

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { text } from "./texts.js";
import { addControl, change, hidePreview, make, onChange, setWidget, widget } from "./widgets.js";

const ALL = -1;

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
    const executed = node.onExecuted;
    node.onExecuted = function (message, ...rest) {
      executed?.call(this, message, ...rest);
      const [boxes] = message?.face_boxes ?? [];
      const [preview] = message?.images ?? [];
      if (!boxes || !preview) return;
      image.onload = () => show(boxes);
      image.src = api.apiURL(`/view?${new URLSearchParams(preview)}`);
    };
    hidePreview(node);
    addControl(node, "face_picker", make("div", {}, photo, hint), 250);
    onChange(node, ["face_index"], mark);
  },
});
