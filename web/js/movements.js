// What the blendshapes are called within their groups; `make locales` reads the table.

import { movementText, text } from "./texts.js";

/** Blendshapes, those of two sides without the side, and where both eyes look. */
const MOVEMENTS = {
  browDown: "down",
  browInnerUp: "inner up",
  browOuterUp: "outer up",
  cheekPuff: "puff",
  cheekSquint: "raise",
  eyeBlink: "close",
  eyeLookDown: "look down",
  eyeLookIn: "look in",
  eyeLookOut: "look out",
  eyeLookUp: "look up",
  eyeSquint: "squint",
  eyeWide: "wide",
  eyesLeft: "look left",
  eyesRight: "look right",
  jawForward: "forward",
  jawLeft: "left",
  jawOpen: "open",
  jawRight: "right",
  mouthClose: "close",
  mouthDimple: "dimple",
  mouthFrown: "frown",
  mouthFunnel: "funnel",
  mouthLeft: "left",
  mouthLowerDown: "lower lip down",
  mouthPress: "press",
  mouthPucker: "pucker",
  mouthRight: "right",
  mouthRollLower: "roll lower lip",
  mouthRollUpper: "roll upper lip",
  mouthShrugLower: "shrug lower lip",
  mouthShrugUpper: "shrug upper lip",
  mouthSmile: "smile",
  mouthStretch: "stretch",
  mouthUpperUp: "upper lip up",
  noseSneer: "sneer",
};
// The person's own left and right.
const GAZE = {
  eyeLookOutLeft: "eyesLeft",
  eyeLookInRight: "eyesLeft",
  eyeLookInLeft: "eyesRight",
  eyeLookOutRight: "eyesRight",
};
const SIDE = /(Left|Right)$/;

const named = (name) => movementText(name, MOVEMENTS[name] ?? name);

/** The name of a blendshape as it moves together with that of the other side. */
export function bothSides(name) {
  // jawLeft and jawRight are no two sides of one movement.
  return named(GAZE[name] ?? (name in MOVEMENTS ? name : name.replace(SIDE, "")));
}

/** The name of a blendshape that moves alone. */
export function oneSide(name) {
  if (name in MOVEMENTS) return named(name);
  const movement = named(name.replace(SIDE, ""));
  return name.endsWith("Left")
    ? text("{movement} left", { movement })
    : text("{movement} right", { movement });
}
