// Drag a head to set yaw, pitch and roll.

import { app } from "../../../scripts/app.js";
import { liveHead } from "./head.js";
import { text } from "./texts.js";
import { addControl, change, endChange, hidePreview, make, onChange, setWidget, startChange, widget } from "./widgets.js";

const ANGLES = ["yaw", "pitch", "roll"];
const NODES = ["DenseFace_PoseFromAngles", "DenseFace_QuickPortrait"];
const DEGREES = 0.5; // for a pixel
const KEYS = {
  ArrowLeft: ["yaw", 1],
  ArrowRight: ["yaw", -1],
  ArrowUp: ["pitch", 1],
  ArrowDown: ["pitch", -1],
  "[": ["roll", -1],
  "]": ["roll", 1],
};

app.registerExtension({
  name: "DenseFace.TurnHead",
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass) || !ANGLES.every((name) => widget(node, name))) return;
    const head = liveHead(text("Head that can be turned by dragging"));
    head.classList.add("turns");
    head.tabIndex = 0;
    const hint = make("div", {
      className: "dense-face-hint",
      textContent: text("Drag to turn, with Shift to tilt"),
    });
    const angle = (name) => Number(widget(node, name).value) || 0;
    const turn = (name, degrees) => setWidget(node, name, Math.round(2 * degrees) / 2);

    let from;
    head.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || from) return; // a second finger
      event.stopPropagation(); // the canvas would move the node
      const { pointerId, clientX, clientY } = event;
      head.setPointerCapture(pointerId);
      startChange();
      from = { pointerId, x: clientX, y: clientY, angles: ANGLES.map(angle) };
    });
    head.addEventListener("pointermove", (event) => {
      if (event.pointerId !== from?.pointerId) return;
      const right = (event.clientX - from.x) * DEGREES;
      const down = (event.clientY - from.y) * DEGREES;
      const [yaw, pitch, roll] = from.angles;
      if (event.shiftKey) {
        turn("roll", roll + right);
      } else {
        turn("yaw", yaw - right);
        turn("pitch", pitch - down);
      }
    });
    const release = (event) => {
      if (event.pointerId !== from?.pointerId) return;
      endChange();
      from = undefined;
    };
    head.addEventListener("pointerup", release);
    head.addEventListener("pointercancel", release);
    head.addEventListener("dblclick", () => {
      change(() => ANGLES.forEach((name) => turn(name, 0)));
    });
    head.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      event.stopPropagation();
      const [name, sign] = KEYS[event.key];
      change(() => turn(name, angle(name) + sign * (event.shiftKey ? 5 : 1)));
    });

    // Of Quick Portrait one wants to see the portrait.
    if (node.comfyClass === "DenseFace_PoseFromAngles") hidePreview(node);
    addControl(node, "turn_head", make("div", {}, head, hint), 204);
    onChange(node, ANGLES, () =>
      head.show(Object.fromEntries(ANGLES.map((name) => [name, angle(name)]))),
    );
  },
});
