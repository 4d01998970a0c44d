// Uses the pack's own controls in the real frontend as a person would: with a mouse, or with fingers
// on a narrow screen without WebGL.
//
//   node controls.mjs --url URL --rendering classic|vue --pointer mouse|touch [--chromium PATH]
//                     [--image FILE] [--screenshots FOLDER]
//
// Prints one JSON object: for each control the widgets of its node before, after, undone, redone,
// copied and reloaded; the saved graph, its API form, the images of its run, errors.

import { parseArgs } from "node:util";
import { loadGraph, openFrontend, settled } from "./frontend.mjs";
import { hand } from "./hands.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    rendering: { type: "string", default: "classic" },
    pointer: { type: "string", default: "mouse" },
    screenshots: { type: "string" },
    image: { type: "string", default: "example.png" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 240_000;
const touch = options.pointer === "touch";
const screen = touch
  ? { viewport: { width: 480, height: 800 }, touch, webgl: false }
  : { viewport: { width: 1600, height: 1000 } };
const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
  screen,
);
const { drag, tap } = await hand(page, touch);

const POSE = "DenseFace_PoseFromAngles";
const QUICK = "DenseFace_QuickPortrait";
const WORD = "SFSR_ExpressionFromWord";
const SLIDERS = "SFSR_ExpressionFromSliders";
const HAND = "DenseFace_FacesByHand";
const DETECT = "DenseFace_DetectFaces";

// What a person does with each: [node, element in its control, what to do with it].
const CONTROLS = {
  head: [POSE, ".dense-face-head.turns", (head) => drag(head, [0, 0], [-40, -20])],
  "head of Quick Portrait": [QUICK, ".dense-face-head.turns", (head) => drag(head, [0, 0], [-40, -20])],
  word: [WORD, "input[type=search]", findWord],
  primary: [WORD, "button[data-word=surprise]", tap],
  slider: [SLIDERS, "input[type=range][aria-label=smile]", slide],
  box: [HAND, ".dense-face-photo", (photo) => drag(photo, [-20, -20], [40, 50])],
  picker: [DETECT, ".dense-face-photo button", tap],
};

try {
  await page.evaluate(
    (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue),
    options.rendering === "vue",
  );
  await loadGraph(page, await freshGraph(), deadline);
  await settled(page);
  const report = { controls: {}, webgl: await hasWebGL() };
  report.drawn = await page
    .locator(".dense-face-head")
    .evaluateAll((all) => all.filter((each) => each.naturalWidth).length);
  report.heads = await page.locator(".dense-face-head").count();

  await run(); // the picker shows what was found
  await page.locator(".dense-face-photo button").first().waitFor({ state: "attached" });
  await page.evaluate(everything);
  await unchanged();
  report.face = await page.evaluate(() => {
    const face = document.querySelector(".dense-face-photo button");
    const { offsetWidth, offsetHeight } = face.parentElement;
    return [face.offsetWidth / offsetWidth, face.offsetHeight / offsetHeight];
  });
  for (const [name, [type, selector, act]] of Object.entries(CONTROLS)) {
    await page.evaluate(() =>
      window.app.extensionManager.workflow.activeWorkflow.changeTracker.checkState(),
    );
    const before = await widgets(type);
    if (name === "primary") await page.locator("input[type=search]").fill("");
    await act(await shown(type, selector));
    const acted = await widgets(type);
    if (options.screenshots) {
      const file = `${options.rendering}_${options.pointer}_${name.replaceAll(" ", "_")}.png`;
      await page.screenshot({ path: `${options.screenshots}/${file}` });
    }
    await undo("z");
    const undone = await until(type, before);
    await unchanged();
    await undo("y");
    const redone = await until(type, acted);
    await unchanged();
    report.controls[name] = { type, before, acted, undone, redone };
  }

  const copies = await page.evaluate(copied, Object.values(CONTROLS).map(([type]) => type));
  for (const control of Object.values(report.controls)) control.copied = copies[control.type];

  report.saved = await page.evaluate(() => window.app.graph.serialize());
  report.api = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
  report.images = await run();
  await page.reload({ waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => window.app?.graph && window.app.extensionManager);
  await loadGraph(page, report.saved, deadline);
  for (const control of Object.values(report.controls)) {
    control.reloaded = await widgets(control.type);
  }
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
}

async function freshGraph() {
  return page.evaluate(
    ([pose, quick, word, sliders, byHand, detect, image]) => {
      window.app.graph.clear();
      const at = { x: 0, y: 0 };
      const add = (type) => {
        const node = window.LiteGraph.createNode(type);
        node.pos = [at.x, at.y];
        window.app.graph.add(node);
        node.setSize([node.size[0], node.size[1] + 260]); // or it grows with its image: a step of undo
        at.x += node.size[0] + 60;
        return node;
      };
      add(pose);
      for (const type of [word, sliders]) add(type).connect(0, add("SFSR_PreviewExpression"), "expression");
      Object.assign(at, { x: 0, y: 1000 });
      const load = add("LoadImage");
      const name = load.widgets.find((each) => each.name === "image");
      name.value = image;
      name.callback?.(image);
      const faces = add(byHand);
      for (const each of faces.widgets.slice(0, 4)) each.value = 20; // x, y, width, height
      load.connect(0, faces, "image");
      const draw = add("DenseFace_DrawFaces");
      faces.connect(0, draw, "faces");
      load.connect(0, draw, "image");
      const analyzer = add("DenseFace_LoadTinyAnalyzer");
      const portrait = add("DenseFace_TinyPortrait");
      const found = add(detect);
      analyzer.connect(0, found, "analyzer");
      portrait.connect(0, found, "image");
      add(quick); // not connected, so that it does not run
      return window.app.graph.serialize();
    },
    [POSE, QUICK, WORD, SLIDERS, HAND, DETECT, options.image],
  );
}

/** Wait until the graph stays as it is: a step of undo loads it anew, and sizes of nodes settle. */
async function unchanged() {
  await page.keyboard.press("Escape");
  let last = "";
  for (let stayed = 0; stayed < 4; stayed += 1) {
    await page.waitForTimeout(400);
    const now = await page.evaluate(() => JSON.stringify(window.app.graph.serialize().nodes));
    if (now !== last) stayed = -1;
    last = now;
  }
}

/** Show the whole graph, in which nodes are drawn for the first time. */
function everything() {
  const { ds, canvas } = window.app.canvas;
  ds.scale = 0.4;
  Object.assign(ds.offset, [20 / ds.scale, 60 / ds.scale]);
  if (canvas.clientWidth < 900) ds.scale = 0.15;
  window.app.canvas.setDirty(true, true);
}

/** The values that are saved of the first node of a type. */
async function widgets(type) {
  return page.evaluate((wanted) => {
    const node = window.app.graph.nodes.find((each) => each.type === wanted);
    const saved = (node?.widgets ?? []).filter((each) => each.serialize !== false);
    return Object.fromEntries(saved.map((each) => [each.name, each.value]));
  }, type);
}

/** The widgets once they are as wanted; as they are after ten seconds. */
async function until(type, wanted) {
  for (let wait = 0; wait < 50; wait += 1) {
    if (JSON.stringify(await widgets(type)) === JSON.stringify(wanted)) break;
    await page.waitForTimeout(200);
  }
  return widgets(type);
}

/** An element of a node's control, moved to the middle of the screen. */
async function shown(type, selector) {
  await page.evaluate((wanted) => {
    const { ds, canvas } = window.app.canvas;
    const node = window.app.graph.nodes.find((each) => each.type === wanted);
    ds.scale = 0.9;
    ds.offset[0] = canvas.clientWidth / 2 / ds.scale - node.pos[0] - node.size[0] / 2;
    ds.offset[1] = 120 / ds.scale - node.pos[1];
    window.app.canvas.setDirty(true, true);
  }, type);
  await page.waitForTimeout(400);
  const index = await page.evaluate(
    ([wanted, found]) => {
      const node = window.app.graph.nodes.find((each) => each.type === wanted);
      const inside = node.widgets.find((each) => each.type === "dense_face").element.querySelector(found);
      return [...document.querySelectorAll(found)].indexOf(inside);
    },
    [type, selector],
  );
  const element = page.locator(selector).nth(index);
  await element.waitFor({ state: "visible", timeout: 30_000 });
  const { y, height } = await element.boundingBox();
  await page.evaluate((down) => {
    const { ds } = window.app.canvas;
    ds.offset[1] -= down / ds.scale;
    window.app.canvas.setDirty(true, true);
  }, y + height / 2 - screen.viewport.height / 2);
  await page.waitForTimeout(400);
  return element;
}

async function findWord(search) {
  await tap(search);
  await page.keyboard.type("smile");
  const found = page.locator(".dense-face-words button[data-word]");
  await page.locator(".dense-face-words button[data-word=surprise]").waitFor({ state: "detached" });
  await tap(found.first());
}

/** Scroll to the slider, as it is below the head, and drag its thumb from the left end to the middle. */
async function slide(slider) {
  if (touch) {
    await drag(page.locator(".dense-face-sliders [data-group=mouth] summary"), [0, 0], [0, -150]);
  } else await slider.hover();
  const { width } = await slider.boundingBox();
  await drag(slider, [-width / 2 + 6, 0], [width / 2, 0]);
}

/** With a keyboard; with fingers by the frontend's own command. */
async function undo(key) {
  if (!touch) return page.keyboard.press(`Control+${key}`);
  const command = key === "z" ? "Comfy.Undo" : "Comfy.Redo";
  return page.evaluate((id) => window.app.extensionManager.command.execute(id), command);
}

/** Copies nodes, pastes them, and removes them again; the widgets of each copy by type. */
function copied(types) {
  const { graph, canvas } = window.app;
  const before = new Set(graph.nodes.map((node) => node.id));
  canvas.copyToClipboard(graph.nodes.filter((node) => types.includes(node.type)));
  canvas.pasteFromClipboard();
  const made = graph.nodes.filter((node) => !before.has(node.id));
  const values = made.map((node) => {
    const saved = node.widgets.filter((each) => each.serialize !== false);
    return [node.type, Object.fromEntries(saved.map((each) => [each.name, each.value]))];
  });
  for (const node of made) graph.remove(node);
  return Object.fromEntries(values);
}

/** Run the graph; its images by the node's id. */
async function run() {
  const history = async () => (await fetch(`${options.url}/history`)).json();
  const before = new Set(Object.keys(await history()));
  const end = Date.now() + 120_000;
  await page.evaluate(() => window.app.queuePrompt(0, 1));
  while (Date.now() < end) {
    for (const [id, { outputs, status }] of Object.entries(await history())) {
      if (before.has(id)) continue;
      if (status.status_str !== "success") throw new Error(JSON.stringify(status));
      const images = Object.entries(outputs).map(([node, output]) => [node, output.images]);
      return Object.fromEntries(images.filter(([, found]) => found));
    }
    await page.waitForTimeout(200);
  }
  throw new Error("the run did not end");
}

async function hasWebGL() {
  return page.evaluate(() => Boolean(document.createElement("canvas").getContext("webgl")));
}
