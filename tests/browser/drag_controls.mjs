// Uses the pack's own controls in the real frontend as a person would.
//
//   node drag_controls.mjs --url URL --rendering classic|vue [--chromium PATH] [--screenshot FILE]
//
// Prints one JSON object: what each step left in the widgets, the saved graph, the API form, errors.

import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    rendering: { type: "string", default: "classic" },
    screenshot: { type: "string" },
    image: { type: "string", default: "example.png" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 240_000;
const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
  { width: 2200, height: 1500 },
);

const TYPES = [
  "DenseFace_PoseFromAngles",
  "SFSR_ExpressionFromWord",
  "SFSR_ExpressionFromSliders",
  "LoadImage",
  "DenseFace_FacesByHand",
  "DenseFace_LoadTinyAnalyzer",
  "DenseFace_TinyPortrait",
  "DenseFace_DetectFaces",
  "PreviewImage",
];

try {
  await page.evaluate(
    (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue),
    options.rendering === "vue",
  );
  await loadGraph(page, await freshGraph(), deadline);
  await page.waitForTimeout(1500);
  await page.keyboard.press("Escape"); // the dialog of a first visit may come late
  await page.locator("[role=dialog]").waitFor({ state: "hidden" });
  const report = { rendering: options.rendering, start: await values() };

  const heads = page.locator(".dense-face-head");
  report.heads = await heads.count();
  report.drawn = await heads.evaluateAll((all) => all.filter((each) => each.naturalWidth).length);

  // Sizes of nodes settle after loading; that is a step of its own.
  await page.waitForTimeout(3000);
  await page.evaluate(() =>
    window.app.extensionManager.workflow.activeWorkflow.changeTracker.checkState(),
  );
  const head = page.locator(".dense-face-head.turns");
  await drag(head, [0, 0], [-40, -20]);
  report.turned = (await values())[TYPES[0]];
  await page.waitForTimeout(500);
  await page.keyboard.press("Control+z");
  report.undone = await untilYaw((yaw) => yaw !== report.turned.yaw);
  await page.waitForTimeout(2000); // a step of undo loads the graph anew
  await page.keyboard.press("Control+y");
  report.redone = await untilYaw((yaw) => yaw === report.turned.yaw);

  await page.locator(".dense-face-control input[type=search]").fill("smile");
  await page.locator(".dense-face-words button").first().waitFor();
  report.found = await page.locator(".dense-face-words button[data-word]").allTextContents();
  await page.locator(".dense-face-words button[data-word]").first().click();
  report.word = (await values())[TYPES[1]].word;

  const smile = page.locator(".dense-face-sliders input[aria-label=smile]");
  await smile.evaluate((slider) => {
    slider.value = "0.7";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    slider.dispatchEvent(new Event("change", { bubbles: true }));
  });
  report.sliders = (await values())[TYPES[2]];

  const photo = page.locator(".dense-face-photo:not(.faces)");
  await photo.waitFor({ state: "visible" });
  report.scale = await photo.evaluate(
    (each) => each.querySelector("img").naturalWidth / each.getBoundingClientRect().width,
  );
  await drag(photo, [-20, -20], [40, 50]);
  report.box = (await values())[TYPES[4]];

  await page.evaluate(() => window.app.queuePrompt(0, 1));
  const face = page.locator(".dense-face-photo.faces button").first();
  await face.waitFor({ timeout: 90_000 });
  await face.click();
  report.picked = (await values())[TYPES[7]].face_index;
  await face.click();
  report.unpicked = (await values())[TYPES[7]].face_index;

  report.saved = await page.evaluate(() => window.app.graph.serialize());
  report.api = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  report.live = await milliseconds();
  await loadGraph(page, { nodes: [] }, deadline);
  await loadGraph(page, report.saved, deadline);
  await page.waitForTimeout(500);
  report.reloaded = await values();
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
}

async function freshGraph() {
  return page.evaluate(
    ([types, image]) => {
      window.app.graph.clear();
      const at = { x: 0, y: 0 };
      const made = types.map((type) => {
        const node = window.LiteGraph.createNode(type);
        node.pos = [at.x, at.y];
        window.app.graph.add(node);
        at.x += node.size[0] + 40;
        if (type === types[4]) Object.assign(at, { x: 0, y: 620 });
        return node;
      });
      const load = made[3];
      const name = load.widgets.find((each) => each.name === "image");
      name.value = image;
      name.callback?.(image);
      load.connect(0, made[4], "image");
      const [analyzer, portrait, detect, preview] = made.slice(5);
      analyzer.connect(0, detect, "analyzer");
      portrait.connect(0, detect, "image");
      detect.connect(2, preview, "images");
      const graph = window.app.graph.serialize();
      graph.extra = { ds: { scale: 0.8, offset: [40, 80] } };
      return graph;
    },
    [TYPES, options.image],
  );
}

async function values() {
  return page.evaluate(() =>
    Object.fromEntries(
      window.app.graph.nodes.map((node) => [
        node.type,
        Object.fromEntries(
          (node.widgets ?? [])
            .filter((each) => each.serialize !== false)
            .map((each) => [each.name, each.value]),
        ),
      ]),
    ),
  );
}

/** The widgets of the pose node once its yaw is as wanted; as they are after ten seconds. */
async function untilYaw(wanted) {
  for (let wait = 0; wait < 50; wait += 1) {
    const now = (await values())[TYPES[0]];
    if (now && wanted(now.yaw)) return now;
    await page.waitForTimeout(200);
  }
  return (await values())[TYPES[0]];
}

/** Drag from one place to another, both in pixels from the element's middle. */
async function drag(locator, from, by) {
  const { x, y, width, height } = await locator.boundingBox();
  const start = [x + width / 2 + from[0], y + height / 2 + from[1]];
  await page.mouse.move(...start);
  await page.mouse.down();
  for (let step = 1; step <= 4; step += 1) {
    await page.mouse.move(start[0] + (by[0] * step) / 4, start[1] + (by[1] * step) / 4);
  }
  await page.mouse.up();
  await page.waitForTimeout(200);
}

/** Milliseconds until the server has drawn a head that it did not know. */
async function milliseconds() {
  return page.evaluate(async () => {
    const start = performance.now();
    const answer = await window.app.api.fetchApi(`/dense_face/head?jawOpen=${Math.random()}`);
    await answer.blob();
    return performance.now() - start;
  });
}
