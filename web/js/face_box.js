// Draw the box of Faces by Hand on the photo itself.

import { app } from "../../../scripts/app.js";
import { text } from "./texts.js";
import { addControl, endChange, make, onChange, setWidget, startChange, whileThere, widget } from "./widgets.js";

const BOX = ["x", "y", "width", "height"];

/** The image that reaches the node's input, where the node before shows one. */
function photoBefore(node) {
  const slot = node.findInputSlot("image");
  let before = slot < 0 ? undefined : node.getInputNode(slot);
  for (let step = 0; before && step < 8; step += 1) {
    const shown = before.imgs?.[0];
    if (shown?.naturalWidth) return shown;
    const next = before.inputs?.findIndex((input) => input.type === "IMAGE") ?? -1;
    before = next < 0 ? undefined : before.getInputNode(next);
  }
  return undefined;
}

app.registerExtension({
  name: "DenseFace.FaceBox",
  nodeCreated(node) {
    if (node.comfyClass !== "DenseFace_FacesByHand") return;
    const image = make("img", { alt: "" });
    const box = make("div", { className: "box" });
    const photo = make("div", { className: "dense-face-photo", hidden: true }, image, box);
    const hint = make("div", { className: "dense-face-hint" });
    const value = (name) => Number(widget(node, name)?.value) || 0;

    const draw = () => {
      const { naturalWidth: wide, naturalHeight: high } = image;
      if (!wide) return;
      const [x, y, width, height] = BOX.map(value);
      Object.assign(box.style, {
        left: `${(100 * x) / wide}%`,
        top: `${(100 * y) / high}%`,
        width: `${(100 * width) / wide}%`,
        height: `${(100 * height) / high}%`,
        display: width && height ? "" : "none",
      });
    };
    const look = () => {
      const source = photoBefore(node);
      photo.hidden = !source;
      hint.textContent = source
        ? text("Drag a box around the face")
        : text("Connect Load Image to draw the box here");
      if (source && image.src !== source.src) {
        image.onload = draw;
        image.src = source.src;
      }
    };

    let from, pointer;
    const place = (event) => {
      const edge = photo.getBoundingClientRect();
      const along = (at, start, length, pixels) =>
        Math.round(Math.min(1, Math.max(0, (at - start) / length)) * pixels);
      return [
        along(event.clientX, edge.left, edge.width, image.naturalWidth),
        along(event.clientY, edge.top, edge.height, image.naturalHeight),
      ];
    };
    photo.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || from) return; // a second finger
      event.stopPropagation();
      photo.setPointerCapture(event.pointerId);
      startChange();
      pointer = event.pointerId;
      from = place(event);
    });
    photo.addEventListener("pointermove", (event) => {
      if (!from || event.pointerId !== pointer) return;
      const to = place(event);
      setWidget(node, "x", Math.min(from[0], to[0]));
      setWidget(node, "y", Math.min(from[1], to[1]));
      setWidget(node, "width", Math.abs(from[0] - to[0]));
      setWidget(node, "height", Math.abs(from[1] - to[1]));
      draw();
    });
    const release = (event) => {
      if (!from || event.pointerId !== pointer) return;
      endChange();
      from = undefined;
    };
    photo.addEventListener("pointerup", release);
    photo.addEventListener("pointercancel", release);

    addControl(node, "face_box", make("div", {}, photo, hint), 270);
    onChange(node, BOX, draw);
    whileThere(node, look, 500); // what is connected, or loaded there, may change
  },
});
